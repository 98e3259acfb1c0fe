//go:build linux

package mapwatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

const (
	selfTestKeyBytes   = 8
	selfTestValueBytes = 16
	// selfTestEntries is more than an LRU map needs to evict nothing while it has
	// a few elements: it keeps some free for each CPU.
	selfTestEntries = 1024
	// selfTestWait bounds the wait for one record; 2 s are plenty on hardware,
	// the rest is for emulated machines.
	selfTestWait = 10 * time.Second
	// selfTestAttempts: other programs of the host write hash maps too, and the
	// kernel skips a capture program that they have running. Such an attempt
	// says nothing and is repeated.
	selfTestAttempts = 20
)

type (
	selfTestKey   [selfTestKeyBytes]byte
	selfTestValue [selfTestValueBytes]byte
)

// selfTestMap is the private map of a type. All have keys of the same bytes but
// for an array, whose keys are the first four of them.
func selfTestMap(kind string) *ebpf.MapSpec {
	spec := &ebpf.MapSpec{
		Name: "mapgossip_test", Type: ebpf.Hash,
		KeySize: selfTestKeyBytes, ValueSize: selfTestValueBytes, MaxEntries: selfTestEntries,
	}
	switch kind {
	case TypeLRUHash:
		spec.Type = ebpf.LRUHash
	case TypeArray:
		spec.Type, spec.KeySize = ebpf.Array, 4
	case TypeLPMTrie:
		spec.Type, spec.Flags = ebpf.LPMTrie, bpfNoPrealloc
	}
	return spec
}

// bpfNoPrealloc is BPF_F_NO_PREALLOC, which every LPM trie has.
const bpfNoPrealloc = 1

// testKey is one of the few keys that the self-test uses: a whole prefix of an
// LPM trie, an index of an array.
func (t *selfTest) testKey(n uint32) selfTestKey {
	var key selfTestKey
	if t.kind == TypeLPMTrie {
		binary.NativeEndian.PutUint32(key[:4], 32)
		binary.NativeEndian.PutUint32(key[4:], n)
	} else {
		binary.NativeEndian.PutUint32(key[:4], n)
	}
	return key
}

// bytes is the key as the map takes it.
func (t *selfTest) bytes(key selfTestKey) []byte { return key[:t.m.KeySize()] }

// selfTestShape is the private map's, for the sizing of the capture.
func selfTestShape() Shape {
	return Shape{KeyBytes: selfTestKeyBytes, ValueBytes: selfTestValueBytes}
}

// wantRecord is what one operation of the self-test must leave in the ring.
type wantRecord struct {
	kind  recordKind
	key   selfTestKey
	value selfTestValue // compared if kind is recordUpdated
}

// selfTest is one attempt on a private map.
type selfTest struct {
	capture       *capture
	kind          string // type of m
	slot          uint32
	onApplyThread func(func())
	m             *ebpf.Map
	id            uint32 // m's
	sample        ringbuf.Record
}

// errMissed: the kernel skipped a capture program during the attempt.
var errMissed = errors.New("the kernel skipped a capture program")

// selfTest proves that "attached" means "works", on a map that nobody else has:
// what must be captured arrives whole, what fails does not (fexit), and writes
// of the apply thread are recognised as ours, which is learned on the way.
// Each type has its own test: one that fails leaves its maps to the scan.
// Wants the ring to itself; leaves the reader marked idle. ErrUnsupported names the step that failed.
func (c *capture) selfTest(slot uint32, onApplyThread func(func())) error {
	for _, kind := range slices.Clone(c.types) {
		var err error
		if kind == TypeLRUHash {
			err = c.testEviction(slot, onApplyThread)
		}
		if err == nil {
			err = c.test(kind, slot, onApplyThread, (*selfTest).drain, (*selfTest).captures, (*selfTest).recognisesOwn)
		}
		if err != nil {
			if err := c.refuse(kind, err); err != nil {
				return err
			}
		}
	}
	return c.err()
}

// selfTestTaken is selfTest for a capture that has its maps and its ring, which
// may hold records or be full: it learns who the apply thread is, which proves
// that the programs run and that these are their maps.
func (c *capture) selfTestTaken(slot uint32, onApplyThread func(func())) error {
	for _, kind := range c.types {
		if err := c.test(kind, slot, onApplyThread, (*selfTest).learnsOwn); err != nil {
			return err
		}
	}
	return nil
}

// testEviction provokes evictions. Without a record of one, or with a wrong one,
// they are left to the scan. The apply thread is not known after.
func (c *capture) testEviction(slot uint32, onApplyThread func(func())) error {
	h := hookNamed("lru_evict")
	if !c.hooked(h) {
		return nil
	}
	err := c.test(TypeLRUHash, slot, onApplyThread, (*selfTest).drain, (*selfTest).evicts)
	if err == nil {
		return nil
	}
	c.lack(h, err.Error())
	return c.unhook(h)
}

// test takes the steps until no run of a program was skipped meanwhile.
func (c *capture) test(kind string, slot uint32, onApplyThread func(func()), steps ...func(*selfTest) error) error {
	for attempt := 1; ; attempt++ {
		err := c.testOnce(kind, slot, onApplyThread, steps)
		if !errors.Is(err, errMissed) {
			return err
		}
		if attempt == selfTestAttempts {
			return fmt.Errorf("test the capture programs: %w in each of %d attempts: this host writes %s maps too fast; use capture mode scan: %w", errMissed, attempt, kind, ErrUnsupported)
		}
	}
}

func (c *capture) testOnce(kind string, slot uint32, onApplyThread func(func()), steps []func(*selfTest) error) (err error) {
	skips, err := c.readSkips()
	if err != nil {
		return fmt.Errorf("test the capture programs: %w: %w", err, ErrUnsupported)
	}
	m, err := ebpf.NewMap(selfTestMap(kind))
	if err != nil {
		return explainRefusal("test the capture programs: create a private map", err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return fmt.Errorf("test the capture programs: read the private map's ID: %w: %w", err, ErrUnsupported)
	}
	id, ok := info.ID()
	if !ok {
		return fmt.Errorf("test the capture programs: the private map has no ID: %w", ErrUnsupported)
	}
	if err := errors.Join(c.forgetOwnThread(), c.setReaderIdle(true), c.setNameWriters(false)); err != nil {
		return fmt.Errorf("test the capture programs: %w: %w", err, ErrUnsupported)
	}
	if err := c.watch(uint32(id), slot); err != nil {
		return fmt.Errorf("test the capture programs: %w: %w", err, ErrUnsupported)
	}
	defer func() {
		if unwatchErr := c.unwatch(uint32(id)); unwatchErr != nil && err == nil {
			err = fmt.Errorf("test the capture programs: %w: %w", unwatchErr, ErrUnsupported)
		}
	}()

	t := &selfTest{capture: c, kind: kind, slot: slot, onApplyThread: onApplyThread, m: m, id: uint32(id)}
	for _, step := range steps {
		if err = step(t); err != nil {
			break
		}
	}
	if err == nil {
		return nil
	}
	if after, skipErr := c.readSkips(); skipErr == nil && after > skips {
		return errMissed
	}
	return fmt.Errorf("test the capture programs: %w: %w", err, ErrUnsupported)
}

// next reads a record that must be there: the programs run within the system
// call that they capture.
func (t *selfTest) next() (record, error) {
	if t.capture.reader.AvailableBytes() == 0 {
		return record{}, errors.New("no record in the ring")
	}
	deadline := time.Now().Add(selfTestWait)
	t.capture.reader.SetDeadline(deadline)
	if err := t.capture.reader.ReadInto(&t.sample); err != nil {
		return record{}, fmt.Errorf("read the ring: %w", err)
	}
	// At the deadline the reader looks by itself.
	if !time.Now().Before(deadline) {
		return record{}, fmt.Errorf("the record woke nobody within %v", selfTestWait)
	}
	return decodeRecord(t.sample.RawSample)
}

// nothing checks that no record is left.
func (t *selfTest) nothing() error {
	if t.capture.reader.AvailableBytes() == 0 {
		return nil
	}
	got, err := t.next()
	if err != nil {
		return err
	}
	return fmt.Errorf("a record too many: kind %d, key %x", got.kind, got.key)
}

// drain forgets what an earlier attempt left.
func (t *selfTest) drain() error {
	t.capture.reader.SetDeadline(time.Now().Add(-time.Second))
	for {
		err := t.capture.reader.ReadInto(&t.sample)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring: %w", err)
		}
	}
}

func (w wantRecord) check(got record, slot uint32) error {
	switch {
	case got.slot != slot:
		return fmt.Errorf("the record says map %d, not %d", got.slot, slot)
	case got.kind != w.kind:
		return fmt.Errorf("the record says kind %d, not %d", got.kind, w.kind)
	case w.kind != recordDrained && !bytes.Equal(got.key, w.key[:len(got.key)]):
		return fmt.Errorf("the record says key %x, not %x", got.key, w.key)
	case w.kind == recordUpdated && !bytes.Equal(got.value, w.value[:]):
		return fmt.Errorf("the record says value %x, not %x", got.value, w.value)
	}
	return nil
}
