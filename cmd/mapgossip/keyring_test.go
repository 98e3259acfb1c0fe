package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestKeyringFaults(t *testing.T) {
	const short = "c2hvcnQ="
	for _, test := range []struct{ text, want string }{
		{"", "read keyring FILE: no key in it; 'mapgossip keygen > FILE' makes one"},
		{"# none\n\n", "read keyring FILE: no key in it; 'mapgossip keygen > FILE' makes one"},
		{"#\nsecret!\n" + short + "\n", "read keyring FILE, line 2: not base64; 'mapgossip keygen' makes a key\nread keyring FILE, line 3: the key has 5 bytes: want 16, 24 or 32"},
		{strings.Repeat("A", maxKeyringBytes+1), "read keyring FILE: more than 65536 bytes: this is no keyring"},
	} {
		path := writeFile(t, test.text, 0o600)
		keys, err := readKeyring(path)
		if want := strings.ReplaceAll(test.want, "FILE", path); err == nil || err.Error() != want {
			t.Errorf("%.20q: keys %d, error %v\nwant %s", test.text, len(keys), err, want)
		}
	}
	dir := t.TempDir()
	if _, err := readKeyring(dir); err == nil || err.Error() != "read keyring "+dir+": is a directory" {
		t.Errorf("keyring is a directory: %v", err)
	}
	key := strings.TrimSpace(invoke(t, nil, "keygen").stdout)
	for _, r := range []result{invoke(t, nil, "keys", "install", key), invoke(t, nil, "agent", "--map", "flows=/x", "--keyring", key)} {
		if r.code != 2 || strings.Contains(r.stderr, key) || !strings.Contains(r.stderr, "not the key") {
			t.Errorf("a key for a file: %+v", r)
		}
	}
}

func TestKeygenMakesAKeyring(t *testing.T) {
	first, second := invoke(t, nil, "keygen"), invoke(t, nil, "keygen")
	if first.code != 0 || first.stderr != "" || first.stdout == second.stdout {
		t.Fatalf("keygen: %+v, %+v", first, second)
	}
	keys, err := readKeyring(writeFile(t, first.stdout+second.stdout, 0o600))
	if err != nil || len(keys) != 2 || len(keys[0]) != generatedKeyBytes {
		t.Fatalf("keys %d, error %v", len(keys), err)
	}
	if base64.StdEncoding.EncodeToString(keys[0])+"\n" != first.stdout {
		t.Error("the first line is not the first key")
	}
}

func TestOpenKeyringIsToldOf(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		var logged bytes.Buffer
		path := writeFile(t, "", mode)
		warnOpenKeyring(slog.New(slog.NewTextHandler(&logged, nil)), path)
		if got := strings.Contains(logged.String(), fmt.Sprintf("file=%s mode=%s", path, mode)); got != want {
			t.Errorf("mode %s: logged %q, want a warning: %v", mode, &logged, want)
		}
	}
}
