//go:build linux

package mapwatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// checkTrieWalk refuses tries on kernels that take another prefix of the same
// length for one that is not there, when they look for the one after it: neither
// can a key be looked up exactly there, nor the trie be read whole while others
// delete. Such are all before 6.13 without the fix "bpf: Fix exact match
// conditions in trie_get_next_key()", which stable kernels have got; so a small
// trie tells, and not the version. Who may not make one is believed to have a
// kernel with the fix.
func checkTrieWalk() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: prefixBytes + 1, ValueSize: 1, MaxEntries: 2, Flags: unix.BPF_F_NO_PREALLOC})
	if err != nil {
		return nil
	}
	defer m.Close()
	key := func(data byte) []byte { return append(binary.NativeEndian.AppendUint32(nil, 8), data) }
	for _, data := range []byte{1, 2} {
		if err := m.Put(key(data), []byte{1}); err != nil {
			return fmt.Errorf("write a trie to test the kernel with: %w", err)
		}
	}
	next := make([]byte, prefixBytes+1)
	err = bpfElement(unix.BPF_MAP_GET_NEXT_KEY, m.FD(), key(3), next, 0)
	switch {
	case err == nil && bytes.Equal(next, key(1)):
		return nil // the first one, because there is no 3
	case err == nil || errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: lpm_trie: this kernel confuses prefixes when it walks a trie; take one with \"bpf: Fix exact match conditions in trie_get_next_key()\": 6.13, or a stable one of 2025", ErrType)
	}
	return fmt.Errorf("walk a trie to test the kernel with: %w", err)
}
