package gossip

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

const (
	fingerprintBytes = 8
	maxKeys          = 4096 // that a member tells of
	// maxInstalled bounds the keys that members install, for each may be tried on
	// each packet. A keyring file may have more.
	maxInstalled = 16
)

var errNoKeyring = errors.New("encryption is off, and cannot be turned on at run time; restart all members with a keyring")

// KeyState is the keys of one member.
type KeyState struct {
	Keys    []string // fingerprints, the one that encrypts first
	Kept    bool     // Config.KeepKeyring has them
	Problem string   // why what was asked was not done, or not kept; empty: it was
}

// Fingerprint names a key without telling it: 16 hexadecimal digits.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("mapgossip key"), key...))
	return hex.EncodeToString(sum[:fingerprintBytes])
}

// Encrypted is nil if this member has a keyring, else an error that says what to do.
func (c *Cluster) Encrypted() error {
	if c.keyring == nil {
		return errNoKeyring
	}
	return nil
}

// Keys returns this member's.
func (c *Cluster) Keys() KeyState { return c.changeKeys(askKeys, nil) }

// AllKeys asks the other living members for theirs, all at the same time. The
// answers are sorted by node ID.
func (c *Cluster) AllKeys(ctx context.Context) []Answer[KeyState] {
	return askAll(ctx, c, askKeys, nil, decodeKeys)
}

// InstallKey gives this member a key of 16, 24 or 32 bytes to decrypt with, UseKey
// makes it encrypt with one that it has, and RemoveKey forgets one with which it
// does not encrypt. What is so already is kept once more.
func (c *Cluster) InstallKey(key []byte) KeyState { return c.changeKeys(askInstallKey, key) }

// UseKey: see InstallKey.
func (c *Cluster) UseKey(fingerprint string) KeyState {
	return c.changeKeys(askUseKey, []byte(fingerprint))
}

// RemoveKey: see InstallKey.
func (c *Cluster) RemoveKey(fingerprint string) KeyState {
	return c.changeKeys(askRemoveKey, []byte(fingerprint))
}

// InstallKeyAll asks the other living members for what InstallKey does, all at the
// same time. The key is sent to nobody unless what members say is encrypted.
func (c *Cluster) InstallKeyAll(ctx context.Context, key []byte) []Answer[KeyState] {
	return c.changeAll(ctx, askInstallKey, key)
}

// UseKeyAll is UseKey of the others.
func (c *Cluster) UseKeyAll(ctx context.Context, fingerprint string) []Answer[KeyState] {
	return c.changeAll(ctx, askUseKey, []byte(fingerprint))
}

// RemoveKeyAll is RemoveKey of the others.
func (c *Cluster) RemoveKeyAll(ctx context.Context, fingerprint string) []Answer[KeyState] {
	return c.changeAll(ctx, askRemoveKey, []byte(fingerprint))
}

func (c *Cluster) changeAll(ctx context.Context, k askKind, what []byte) []Answer[KeyState] {
	if c.keyring == nil {
		return nil
	}
	w := newBody(1, len(what)+16)
	w.blob(what)
	return askAll(ctx, c, k, w.body(), decodeKeys)
}

// changeKeys does what an ask of that kind wants: what is a key or a fingerprint.
func (c *Cluster) changeKeys(k askKind, what []byte) KeyState {
	if c.keyring == nil {
		return KeyState{Problem: errNoKeyring.Error()}
	}
	c.keys.Lock()
	defer c.keys.Unlock()
	var err error
	switch k {
	case askInstallKey:
		if err = validKey(what); err == nil {
			err = installKey(c.keyring, what)
		}
	case askUseKey:
		err = useKey(c.keyring, string(what))
	case askRemoveKey:
		err = removeKey(c.keyring, string(what))
	}
	var s KeyState
	if k != askKeys && err == nil {
		c.keysKept = false
		if c.cfg.KeepKeyring != nil {
			err = c.cfg.KeepKeyring(c.keysLocked())
			c.keysKept = err == nil
		}
	}
	if err != nil {
		s.Problem = err.Error()
	}
	s.Kept = c.keysKept
	for _, key := range c.keyring.GetKeys() {
		s.Keys = append(s.Keys, Fingerprint(key))
	}
	return s
}

// keysLocked copies the keys, the one that encrypts first.
func (c *Cluster) keysLocked() [][]byte {
	var keys [][]byte
	for _, key := range c.keyring.GetKeys() {
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

func validKey(key []byte) error {
	if n := len(key); n != 16 && n != 24 && n != 32 {
		return fmt.Errorf("install key: want 16, 24 or 32 bytes, have %d", n)
	}
	return nil
}

func installKey(ring *memberlist.Keyring, key []byte) error {
	keys := ring.GetKeys()
	known := slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
	if len(keys) >= maxInstalled && !known {
		return fmt.Errorf("install key: the member has %d already; remove those that nobody encrypts with first", len(keys))
	}
	return ring.AddKey(bytes.Clone(key))
}

func useKey(ring *memberlist.Keyring, fingerprint string) error {
	for _, key := range ring.GetKeys() {
		if Fingerprint(key) == fingerprint {
			return ring.UseKey(key)
		}
	}
	return fmt.Errorf("use key %s: the member does not have it; install it first", readable(fingerprint))
}

// removeKey is done for a key that is not there.
func removeKey(ring *memberlist.Keyring, fingerprint string) error {
	for i, key := range ring.GetKeys() {
		switch {
		case Fingerprint(key) != fingerprint:
		case i == 0:
			return fmt.Errorf("remove key %s: the member encrypts with it; use another one first", fingerprint)
		default:
			return dropKey(ring, key)
		}
	}
	return nil
}

// dropKey takes a key out of the ring. memberlist's RemoveKey does it in the slice
// that whoever decrypts may be reading; UseKey makes a new one first.
func dropKey(ring *memberlist.Keyring, key []byte) error {
	key = bytes.Clone(key)
	if err := ring.UseKey(ring.GetPrimaryKey()); err != nil {
		return err
	}
	return ring.RemoveKey(key)
}

func (c *Cluster) replyKeys(k askKind, body []byte) ([]byte, error) {
	var what []byte
	if k != askKeys {
		if err := openBody(body, 1, func(r *fieldReader) { what = r.blob(maxReasonBytes) }); err != nil {
			return nil, err
		}
	}
	return c.changeKeys(k, what).encode(), nil
}

func (s KeyState) encode() []byte {
	w := newBody(3, 32*len(s.Keys)+2*maxReasonBytes)
	w.flag(s.Kept)
	w.text(s.Problem[:min(len(s.Problem), maxReasonBytes)])
	keys := s.Keys[:min(len(s.Keys), maxKeys)]
	w.array(len(keys))
	for _, k := range keys {
		w.text(k)
	}
	return w.body()
}

func decodeKeys(body []byte) (KeyState, error) {
	var s KeyState
	err := openBody(body, 3, func(r *fieldReader) {
		s.Kept, s.Problem = r.flag(), readable(r.text(maxReasonBytes))
		r.list(maxKeys, func() {
			k := r.text(2 * fingerprintBytes)
			if b, err := hex.DecodeString(k); err != nil || len(b) != fingerprintBytes {
				r.fail("fingerprint %q", k)
			}
			s.Keys = append(s.Keys, k)
		})
	})
	if err != nil {
		return KeyState{}, err
	}
	return s, nil
}
