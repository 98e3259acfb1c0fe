package main

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/need"
)

// testKey is the base64 of 16 bytes of one letter, and those bytes.
func testKey(letter string) (line string, key []byte) {
	key = []byte(strings.Repeat(letter, 16))
	return base64.StdEncoding.EncodeToString(key), key
}

func TestKeyringText(t *testing.T) {
	a, keyA := testKey("a")
	b, keyB := testKey("b")
	c, keyC := testKey("c")
	for name, test := range map[string]struct {
		old  string
		keys [][]byte
		want string
	}{
		"bare":                       {a + "\n" + b, [][]byte{keyB}, b + "\n"},
		"new key first":              {"# keys of edge\n\n# of May\n" + a + "\n", [][]byte{keyB, keyA}, "# keys of edge\n\n" + b + "\n# of May\n" + a + "\n"},
		"comments follow their keys": {"# of May\n" + a + "\n# of June\n  " + b + "  \n", [][]byte{keyB, keyA}, "# of June\n" + b + "\n# of May\n" + a + "\n"},
		"and go with them":           {"# of May\n" + a + "\n\n# of June\n" + b + "\n", [][]byte{keyB, keyC}, "# of June\n" + b + "\n" + c + "\n"},
		"no key before":              {"# none\n\n", [][]byte{keyA}, a + "\n"},
	} {
		if got := string(keyringText([]byte(test.old), test.keys)); got != test.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, test.want)
		}
	}
}

// The file is a new one of the old mode and owner, whoever has the old one open
// keeps it, and nothing else is left behind.
func TestKeepKeyring(t *testing.T) {
	a, keyA := testKey("a")
	_, keyB := testKey("b")
	path := writeFile(t, a+"\n", 0o640)
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var before, after unix.Stat_t
	if err := unix.Stat(path, &before); err != nil {
		t.Fatal(err)
	}
	if err := keepKeyring(link, [][]byte{keyB, keyA}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(path, &after); err != nil {
		t.Fatal(err)
	}
	if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid || after.Ino == before.Ino {
		t.Errorf("mode %o, owner %d:%d, inode %d; want those of %o, %d:%d in another inode than %d",
			after.Mode, after.Uid, after.Gid, after.Ino, before.Mode, before.Uid, before.Gid, before.Ino)
	}
	if stat, err := os.Lstat(link); err != nil || stat.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", stat, err)
	}
	keys, err := readKeyring(path)
	if err != nil || len(keys) != 2 || string(keys[0]) != string(keyB) || string(keys[1]) != string(keyA) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	held := make([]byte, 64)
	if n, _ := reader.Read(held); string(held[:n]) != a+"\n" {
		t.Errorf("who had the file open reads %d other bytes", n)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestKeepKeyringFaults(t *testing.T) {
	a, key := testKey("a")
	if err := keepKeyring(filepath.Join(t.TempDir(), "none"), [][]byte{key}); err == nil || !strings.Contains(err.Error(), "put them there yourself") {
		t.Errorf("no file: %v", err)
	}
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		need.Skip(t, "needs to mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	path := filepath.Join(dir, "keyring")
	if err := os.WriteFile(path, []byte(a+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err := keepKeyring(path, [][]byte{key})
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), "ReadWritePaths") || strings.Contains(err.Error(), a) {
		t.Errorf("read-only: %v", err)
	}
}
