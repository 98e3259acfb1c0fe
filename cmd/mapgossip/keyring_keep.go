package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// keepKeyring writes the keys to the file, the first of which encrypts, so that
// the next start has them. Whoever reads it at that moment, or after a crash,
// finds the old keys or the new ones, whole. Mode and owner of the file stay, and
// the comments that are right above a key which stays, or in a paragraph of their
// own before the first one. A symbolic link stays one.
func keepKeyring(path string, keys [][]byte) error {
	if err := rewriteKeyring(path, keys); err != nil {
		return fmt.Errorf("write keyring %s: %w; the keys in force are not in the file: put them there yourself", path, explainKeep(err))
	}
	return nil
}

func explainKeep(err error) error {
	cause := innermost(err)
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (a Secret, or a path that the unit file does not list in ReadWritePaths=)", cause)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the agent's user must own the file and may write its directory", cause)
	}
	return cause
}

func rewriteKeyring(path string, keys [][]byte) (err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var stat, made unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	if _, err := file.Write(keyringText(old, keys)); err != nil {
		return err
	}
	// The mode first: it is the owner's to change.
	if err := unix.Fchmod(int(file.Fd()), stat.Mode&0o777); err != nil {
		return err
	}
	if err := unix.Fstat(int(file.Fd()), &made); err != nil {
		return err
	}
	if made.Uid != stat.Uid || made.Gid != stat.Gid {
		if err := file.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil // the rename is done, and is on the disk sooner or later
	}
	defer dir.Close()
	_ = dir.Sync() // likewise
	return nil
}

// keyringText is a keyring with these keys and the comments that old has for
// them.
func keyringText(old []byte, keys [][]byte) []byte {
	head, above := keyringComments(old)
	var text bytes.Buffer
	text.WriteString(head)
	for _, key := range keys {
		line := base64.StdEncoding.EncodeToString(key)
		text.WriteString(above[line])
		text.WriteString(line + "\n")
	}
	return text.Bytes()
}

// keyringComments returns what comes before the first key and the last blank
// line above it, and the comments above each key.
func keyringComments(text []byte) (head string, above map[string]string) {
	above = make(map[string]string)
	var comments []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			comments = append(comments, line+"\n")
			continue
		}
		own := comments
		for i, comment := range slices.Backward(comments) {
			if comment == "\n" {
				if own = comments[i+1:]; len(above) == 0 {
					head = strings.Join(comments[:i+1], "")
				}
				break
			}
		}
		above[line] = strings.Join(own, "")
		comments = nil
	}
	return head, above
}
