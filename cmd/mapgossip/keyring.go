package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

const (
	generatedKeyBytes = 32
	maxKeyringBytes   = 64 << 10 // far more than a rotation needs
)

// readKeyring reads base64 keys, one a line; blank lines and those that start
// with # are left out. The error holds all faults, with line numbers, and
// never a key.
func readKeyring(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		if _, bad := parseKey(path); bad == nil {
			return nil, errors.New("read keyring: want the name of a file that has the key, not the key: other users see the command line; make another key with 'mapgossip keygen > FILE'")
		}
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("read keyring %s: %w; 'mapgossip keygen > FILE' makes one", path, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyringBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read keyring %s: %w", path, errors.Unwrap(err))
	}
	if len(text) > maxKeyringBytes {
		return nil, fmt.Errorf("read keyring %s: more than %d bytes: this is no keyring", path, maxKeyringBytes)
	}
	var keys [][]byte
	var faults []error
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxKeyringBytes+1)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			faults = append(faults, fmt.Errorf("read keyring %s, line %d: %w", path, number, err))
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("read keyring %s: no key in it; 'mapgossip keygen > %s' makes one", path, path))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return keys, nil
}

// warnOpenKeyring logs a keyring that users other than owner and group can read.
func warnOpenKeyring(log *slog.Logger, path string) {
	if stat, err := os.Stat(path); err == nil && stat.Mode().Perm()&0o004 != 0 {
		log.Warn("every user of this host can read the keyring: chmod 600 it", "file", path, "mode", stat.Mode().Perm())
	}
}

// runKeygen prints a new key, as a line of a keyring.
func runKeygen(_ context.Context, args []string, env environment, stdout, _ io.Writer) error {
	if err := settingsOf("keygen").parse(args, env); err != nil {
		return err
	}
	key := make([]byte, generatedKeyBytes)
	rand.Read(key) // never fails: crypto/rand ends the process instead
	_, err := fmt.Fprintln(stdout, base64.StdEncoding.EncodeToString(key))
	return err
}

// parseKey reads one key of base64. The error does not hold it.
func parseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil:
		return nil, errors.New("not base64; 'mapgossip keygen' makes a key")
	case len(key) != 16 && len(key) != 24 && len(key) != 32:
		return nil, fmt.Errorf("the key has %d bytes: want 16, 24 or 32", len(key))
	}
	return key, nil
}
