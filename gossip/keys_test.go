package gossip

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFingerprint(t *testing.T) {
	if got := Fingerprint(bytes.Repeat([]byte{1}, 32)); len(got) != 16 || got == Fingerprint(bytes.Repeat([]byte{1}, 16)) {
		t.Error(got)
	}
}

func TestKeysOfOthersChange(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	f1, f2 := Fingerprint(one), Fingerprint(two)
	virtual(t, lan, func(t *testing.T, w *world) {
		kept := map[string][][]byte{}
		full := errors.New("disk full")
		a, b, c := w.three(func(c *Config) {
			c.Keyring = [][]byte{one}
			switch c.Bind.String() {
			case addrB:
				c.KeepKeyring = func(keys [][]byte) error { kept["b"] = keys; return nil }
			case addrC:
				c.KeepKeyring = func([][]byte) error { return full }
			}
		})
		ctx := context.Background()
		want := func(step string, got []Answer[KeyState], keys ...string) {
			t.Helper()
			for i, m := range []*member{b, c} {
				g := got[i]
				if g.Err != nil || !slices.Equal(g.Value.Keys, keys) || !slices.Equal(m.Keys().Keys, keys) {
					t.Errorf("%s: %+v", step, g)
				}
			}
			if !got[0].Value.Kept || got[0].Value.Problem != "" || got[1].Value.Kept || got[1].Value.Problem != "disk full" {
				t.Errorf("%s: %+v", step, got)
			}
		}
		if got := a.AllKeys(ctx); !got[0].Value.Kept || !got[1].Value.Kept || a.Keys().Kept {
			t.Errorf("%+v", got)
		}
		want("install", a.InstallKeyAll(ctx, two), f1, f2)
		if len(kept["b"]) != 2 {
			t.Errorf("kept %x", kept["b"])
		}
		if s := a.InstallKey(two); s.Problem != "" || s.Kept || !slices.Equal(s.Keys, []string{f1, f2}) {
			t.Errorf("%+v", s)
		}
		want("use", a.UseKeyAll(ctx, f2), f2, f1)
		for i, g := range a.RemoveKeyAll(ctx, f2) {
			if g.Err != nil || !strings.Contains(g.Value.Problem, "encrypts with it") || len(g.Value.Keys) != 2 {
				t.Errorf("%d: the key in use is removed: %+v", i, g)
			}
		}
		if s := a.UseKey(f2); s.Problem != "" {
			t.Error(s)
		}
		want("remove", a.RemoveKeyAll(ctx, f1), f2)
		if !bytes.Equal(kept["b"][0], two) || len(kept["b"]) != 1 {
			t.Errorf("kept %x", kept["b"])
		}
		if s := a.RemoveKey(f1); s.Problem != "" || !slices.Equal(s.Keys, []string{f2}) {
			t.Error(s)
		}
		if got := a.UseKeyAll(ctx, f1)[0]; !strings.Contains(got.Value.Problem, "does not have it") {
			t.Errorf("%+v", got)
		}
		if got := a.InstallKeyAll(ctx, []byte{1})[0]; !strings.Contains(got.Value.Problem, "16, 24 or 32") {
			t.Errorf("%+v", got)
		}
		a.put("flows", key(1), value(1))
		within(t, time.Second, "equal", same("flows", a, b, c))
	})
}

// TestInstalledKeysAreBounded: a member gone bad can't have the others try keys
// without end.
func TestInstalledKeysAreBounded(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, func(c *Config) { c.Keyring = [][]byte{bytes.Repeat([]byte{1}, 32)} })
		for i := range maxInstalled - 1 {
			if s := a.InstallKey(bytes.Repeat([]byte{byte(2 + i)}, 32)); s.Problem != "" {
				t.Fatal(s.Problem)
			}
		}
		if s := a.InstallKey(bytes.Repeat([]byte{200}, 32)); len(s.Keys) != maxInstalled || !strings.Contains(s.Problem, "remove those") {
			t.Errorf("one too many: %d keys, %q", len(s.Keys), s.Problem)
		}
		if s := a.InstallKey(bytes.Repeat([]byte{2}, 32)); s.Problem != "" {
			t.Errorf("one that is there: %s", s.Problem)
		}
	})
}

func TestNoKeysWithoutKeyring(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, _, _ := w.three(nil)
		if a.Encrypted() == nil || a.InstallKeyAll(context.Background(), make([]byte, 16)) != nil || a.InstallKey(make([]byte, 16)).Problem == "" {
			t.Error("a key was taken, or sent")
		}
		if got := a.AllKeys(context.Background()); got[0].Err != nil || !strings.Contains(got[0].Value.Problem, "cannot be turned on at run time") {
			t.Errorf("%+v", got)
		}
	})
}
