package mapgossip

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mapgossip/mapgossip/gossip"
)

// A change of keys without an interruption: InstallKey with the new one, UseKey, and
// RemoveKey with the old one. Only living members are asked: one that is away
// meanwhile is shut out once the old key is removed, until its keyring is mended.

// Keys asks all living members for the fingerprints of the keys they have: this
// member comes first, then the others by node ID. Of one that does not answer within
// 3 s there is an Error. The error tells that there is no keyring, or is the cause of
// ctx's end.
func (n *Node) Keys(ctx context.Context) ([]MemberKeys, error) {
	if err := n.cluster.Encrypted(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return n.memberKeys(ctx, n.cluster.Keys, func() []gossip.Answer[gossip.KeyState] { return n.cluster.AllKeys(ctx) })
}

// InstallKey gives all living members a key (16, 24 or 32 bytes) to decrypt with. The
// answers are as those of Keys; the Error of one says why the key is not there, or not
// in its file. Nothing is undone because of it: call it again.
func (n *Node) InstallKey(ctx context.Context, key []byte) ([]MemberKeys, error) {
	if err := n.cluster.Encrypted(); err != nil {
		return nil, fmt.Errorf("install key: %w", err)
	}
	if l := len(key); l != 16 && l != 24 && l != 32 {
		return nil, fmt.Errorf("install key: it has %d bytes: want 16, 24 or 32", l)
	}
	return n.memberKeys(ctx,
		func() gossip.KeyState { return n.cluster.InstallKey(key) },
		func() []gossip.Answer[gossip.KeyState] { return n.cluster.InstallKeyAll(ctx, key) })
}

// UseKey makes all living members encrypt with the key of that fingerprint. It is
// refused, and nothing changes, while one of them lacks the key or does not answer:
// that one would be shut out. The answers are as those of InstallKey.
func (n *Node) UseKey(ctx context.Context, fingerprint string) ([]MemberKeys, error) {
	fingerprint = strings.ToLower(fingerprint)
	if err := n.keysAllow(ctx, "use", fingerprint, "lack it: install it first", func(m MemberKeys) bool {
		return !slices.Contains(m.Keys, fingerprint)
	}); err != nil {
		return nil, err
	}
	return n.memberKeys(ctx,
		func() gossip.KeyState { return n.cluster.UseKey(fingerprint) },
		func() []gossip.Answer[gossip.KeyState] { return n.cluster.UseKeyAll(ctx, fingerprint) })
}

// RemoveKey makes all living members forget the key of that fingerprint. It is
// refused, and nothing changes, while one of them encrypts with it, or does not say
// with which it does. The answers are as those of InstallKey.
func (n *Node) RemoveKey(ctx context.Context, fingerprint string) ([]MemberKeys, error) {
	fingerprint = strings.ToLower(fingerprint)
	known := false
	if err := n.keysAllow(ctx, "remove", fingerprint, "encrypt with it: use another key first", func(m MemberKeys) bool {
		known = known || slices.Contains(m.Keys, fingerprint)
		return len(m.Keys) > 0 && m.Keys[0] == fingerprint
	}); err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("remove key %q: no living member has it; list the keys to see which there are", fingerprint)
	}
	return n.memberKeys(ctx,
		func() gossip.KeyState { return n.cluster.RemoveKey(fingerprint) },
		func() []gossip.Answer[gossip.KeyState] { return n.cluster.RemoveKeyAll(ctx, fingerprint) })
}

// keysAllow asks all living members for their keys and returns an error that names
// those in whose way a change would be, and those that did not answer.
func (n *Node) keysAllow(ctx context.Context, verb, fingerprint, why string, against func(MemberKeys) bool) error {
	if err := n.cluster.Encrypted(); err != nil {
		return fmt.Errorf("%s key %q: %w", verb, fingerprint, err)
	}
	members, err := n.Keys(ctx)
	if err != nil {
		return err
	}
	var faults []string
	var named []string
	for _, m := range members {
		switch {
		case m.Error != "":
			faults = append(faults, fmt.Sprintf("member %s has not told its keys (%s): mend it or stop it, and try again", m.Node, m.Error))
		case against(m):
			named = append(named, m.Node)
		}
	}
	if len(named) > 0 {
		faults = slices.Insert(faults, 0, fmt.Sprintf("members %s %s", strings.Join(named, ", "), why))
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s key %q: %s", verb, fingerprint, strings.Join(faults, "; "))
	}
	return nil
}

// memberKeys runs both at the same time.
func (n *Node) memberKeys(ctx context.Context, own func() gossip.KeyState, others func() []gossip.Answer[gossip.KeyState]) ([]MemberKeys, error) {
	answers := make(chan []gossip.Answer[gossip.KeyState], 1)
	go func() { answers <- others() }()
	all := []MemberKeys{memberKeys(n.config.Node, own(), nil)}
	all[0].Self = true
	for _, a := range <-answers {
		all = append(all, memberKeys(a.Node, a.Value, a.Err))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, nil
}

func memberKeys(node string, s gossip.KeyState, err error) MemberKeys {
	m := MemberKeys{Node: node, Error: s.Problem, Keys: append([]string{}, s.Keys...), Kept: s.Kept}
	if err != nil {
		m.Error = err.Error()
	}
	return m
}
