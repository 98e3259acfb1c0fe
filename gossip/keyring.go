package gossip

import (
	"bytes"
	"errors"
	"fmt"
)

// SetKeyring replaces the keys: the first encrypts from now on, all decrypt.
// To change keys without an interruption, give all members the old and the new
// one, old first; then new first; then the new one alone. An error changes
// nothing. A cluster opened without keys cannot begin to encrypt, nor one with
// keys end it: members that do and members that do not refuse each other.
func (c *Cluster) SetKeyring(keys [][]byte) error {
	if c.keyring == nil {
		return errors.New("set keyring: encryption is off; restart all members with a keyring")
	}
	if len(keys) == 0 {
		return errors.New("set keyring: no key given; encryption ends only by a restart of all members")
	}
	for i, k := range keys {
		if n := len(k); n != 16 && n != 24 && n != 32 {
			return fmt.Errorf("set keyring: key %d: want 16, 24 or 32 bytes, have %d", i+1, n)
		}
	}
	c.keys.Lock()
	defer c.keys.Unlock()
	for _, k := range keys {
		if err := c.keyring.AddKey(bytes.Clone(k)); err != nil {
			return fmt.Errorf("set keyring: %w", err)
		}
	}
	if err := c.keyring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("set keyring: %w", err)
	}
	for _, old := range c.keyring.GetKeys() {
		wanted := false
		for _, k := range keys {
			wanted = wanted || bytes.Equal(k, old)
		}
		if wanted {
			continue
		}
		if err := dropKey(c.keyring, old); err != nil {
			return fmt.Errorf("set keyring: %w", err)
		}
	}
	c.keysKept = c.cfg.KeepKeyring != nil // they come from there
	return nil
}
