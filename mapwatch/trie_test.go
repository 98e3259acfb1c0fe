//go:build linux

package mapwatch_test

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// While a key is overwritten, the kernel's own walk from it leaves out what comes
// after it now and then, see scanTrie. A scan does so nearly never.
func TestTrieScanBesideAnOverwrite(t *testing.T) {
	const rounds, walks = 3_000, 10
	m, raw := newTrie(t)
	left, right := ipv4(32, 0), ipv4(32, 128)
	value := []byte{1, 2, 3, 4}
	for _, key := range [][]byte{left, right} {
		if err := raw.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := raw.Put(left, value); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	missedByKernel, missed := 0, 0
	next := make([]byte, len(left))
	for range rounds {
		for range walks {
			if err := raw.NextKey(left, &next); err != nil {
				missedByKernel++
			}
		}
		total := 0
		if err := m.Scan(t.Context(), func(_, _ []byte, n int) error { total += n; return nil }); err != nil {
			t.Fatal(err)
		}
		if total != 2 {
			missed++
		}
		if _, err := m.Lookup(right); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	t.Logf("of %d steps of the kernel %d missed a key, of %d scans %d", rounds*walks, missedByKernel, rounds, missed)
	if missed*walks > missedByKernel {
		t.Error("a scan misses keys as often as a step of the kernel")
	}
}

func newTrie(t *testing.T) (mapwatch.Map, *ebpf.Map) {
	t.Helper()
	p := newProgram(t, filepath.Join(need.BPFFS(t), "trie"), mapwatch.Shape{Type: mapwatch.TypeLPMTrie, KeyBytes: 8, ValueBytes: 4, MaxEntries: 1000})
	m, err := openHost(t).Open(p.Target())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, p.m
}

// ipv4 is the prefix of so many bits of first.0.0.0.
func ipv4(bits uint32, first byte) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, bits), first, 0, 0, 0)
}

// Kernels without batches for tries (before 5.13) are walked key by key.
func TestTrieScanWithoutBatches(t *testing.T) {
	m, raw := newTrie(t)
	mapwatch.WithoutTrieBatches(m)
	want := make(map[string]string)
	for i := range 500 {
		key := binary.NativeEndian.AppendUint32(nil, uint32(16+i%17))
		key = append(key, byte(i), byte(i/16), 0, 0)
		if err := raw.Put(key, []byte{byte(i), byte(i >> 8), 0, 1}); err != nil {
			t.Fatal(err)
		}
		want[string(key)] = string([]byte{byte(i), byte(i >> 8), 0, 1})
	}
	got := make(map[string]string)
	err := m.Scan(t.Context(), func(keys, values []byte, n int) error {
		for i := range n {
			if _, twice := got[string(keys[i*8:][:8])]; twice {
				t.Errorf("key %x was passed twice", keys[i*8:][:8])
			}
			got[string(keys[i*8:][:8])] = string(values[i*4:][:4])
		}
		return nil
	})
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d elements, want %d: %v", len(got), len(want), err)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("key %x has the value %x, want %x", key, got[key], value)
		}
	}
}
