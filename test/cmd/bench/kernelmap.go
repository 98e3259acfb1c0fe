//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	keyBytes   = 16
	valueBytes = 64
	entryBytes = keyBytes + valueBytes
	// versionBytes are the time and the member of an entry, at their shortest.
	versionBytes = 12
	batchEntries = 4096
)

type (
	key   [keyBytes]byte
	value [valueBytes]byte
)

// driven are the key and the value of a driven write (mapwatch.Driven.Write).
func driven(n, keys uint64) (k key, v value) {
	binary.NativeEndian.PutUint64(k[:], n%keys)
	for i := 0; i < valueBytes; i += 8 {
		binary.NativeEndian.PutUint64(v[i:], n)
	}
	return k, v
}

// kernelMap is a hash map that processes of the bench open by its ID.
type kernelMap struct {
	m  *ebpf.Map
	id uint32
}

func newKernelMap(entries uint64) (*kernelMap, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench", Type: ebpf.Hash, KeySize: keyBytes, ValueSize: valueBytes, MaxEntries: uint32(entries)})
	if err != nil {
		return nil, fmt.Errorf("create a map of %d entries: %w", entries, err)
	}
	info, err := m.Info()
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("read the ID of a map: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		m.Close()
		return nil, errors.New("read the ID of a map: this kernel does not tell it")
	}
	return &kernelMap{m, uint32(id)}, nil
}

func (k *kernelMap) target() string { return fmt.Sprintf("id:%d", k.id) }

func (k *kernelMap) close() error {
	if k == nil {
		return nil
	}
	return k.m.Close()
}

// fill writes what the first driven writes would.
func (k *kernelMap) fill(entries uint64) error {
	keys, values := make([]key, 0, batchEntries), make([]value, 0, batchEntries)
	for n := range entries {
		key, value := driven(n, entries)
		keys, values = append(keys, key), append(values, value)
		if len(keys) == batchEntries || n == entries-1 {
			if _, err := k.m.BatchUpdate(keys, values, nil); err != nil {
				return fmt.Errorf("fill a map: %w", err)
			}
			keys, values = keys[:0], values[:0]
		}
	}
	return nil
}

// count reads the whole map and returns how many of its entries are those that
// the first driven writes make. An entry that is none of them is an error.
func (k *kernelMap) count(entries uint64) (uint64, error) {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]key, batchEntries), make([]value, batchEntries)
	var found uint64
	for {
		n, err := k.m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			number := binary.NativeEndian.Uint64(keys[i][:])
			wantKey, wantValue := driven(number, entries)
			if number >= entries || keys[i] != wantKey || values[i] != wantValue {
				return found, fmt.Errorf("the map has key %x with value %x, which nobody wrote", keys[i], values[i])
			}
			found++
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("read a map: %w", err)
		}
	}
}

// has reports whether the map holds that value.
func (k *kernelMap) has(want key, wanted value) (bool, error) {
	var got value
	err := k.m.Lookup(&want, &got)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("look up a key: %w", err)
	}
	return err == nil && got == wanted, nil
}

// awaitValue looks for a value every so often and returns when it was seen.
func (k *kernelMap) awaitValue(want key, wanted value, every, patience time.Duration) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The kernel delays sleeps by 50 µs without this (prctl(2)).
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	pause := unix.NsecToTimespec(int64(every))
	for began := now(); ; {
		found, err := k.has(want, wanted)
		at := now()
		if found || err != nil {
			return at, err
		}
		if at-began > patience {
			return at, fmt.Errorf("key %x did not become %x in %v", want, wanted, patience)
		}
		_ = unix.Nanosleep(&pause, nil)
	}
}

// awaitAll returns when the map had the last of the driven writes, if it then
// had all of them, and else when it had.
func (k *kernelMap) awaitAll(entries uint64, patience time.Duration) (time.Duration, error) {
	const every = time.Millisecond
	began := now()
	wantKey, wantValue := driven(entries-1, entries)
	at, err := k.awaitValue(wantKey, wantValue, every, patience)
	if err != nil {
		return at, err
	}
	for {
		began2 := now()
		found, err := k.count(entries)
		if err != nil {
			return at, err
		}
		if found == entries {
			return at, nil
		}
		at = began2
		if at-began > patience {
			return at, fmt.Errorf("%d of %d entries are missing after %v", entries-found, entries, patience)
		}
		time.Sleep(every)
	}
}

// elements counts them.
func (k *kernelMap) elements() (found uint64, err error) {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]key, batchEntries), make([]value, batchEntries)
	for {
		n, err := k.m.BatchLookup(&cursor, keys, values, nil)
		found += uint64(n)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("read a map: %w", err)
		}
	}
}
