//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// step is one operation and what it must leave in the ring.
type step struct {
	name string
	hook string // must be there, by name; empty: it is
	do   func() error
	want []wantRecord
}

// captures runs every operation of the type once.
func (t *selfTest) captures() error {
	for _, step := range t.steps() {
		if step.hook != "" && !t.capture.hooked(hookNamed(step.hook)) {
			continue
		}
		err := step.do()
		if step.hook != "" && errors.Is(err, ebpf.ErrNotSupported) {
			continue // lookup_and_delete of a hash map came with 5.14
		}
		if err != nil {
			return fmt.Errorf("step %q: %w", step.name, err)
		}
		for _, want := range step.want {
			got, err := t.next()
			if err != nil {
				return fmt.Errorf("step %q: %w", step.name, err)
			}
			if err := want.check(got, t.slot); err != nil {
				return fmt.Errorf("step %q: %w", step.name, err)
			}
		}
		if err := t.nothing(); err != nil {
			return fmt.Errorf("step %q: %w", step.name, err)
		}
	}
	return nil
}

func (t *selfTest) steps() []step {
	one, two, three := t.testKey(1), t.testKey(2), t.testKey(3)
	first, second := selfTestValue{1, 15: 0xff}, selfTestValue{2, 15: 0xfe}

	overwrite := step{"overwrite", "", func() error { return t.m.Update(t.bytes(one), second, ebpf.UpdateAny) },
		[]wantRecord{t.updated(one, second)}}
	exists := step{"insert of a key that exists", "", func() error {
		return succeedsNot(t.m.Update(t.bytes(one), first, ebpf.UpdateNoExist), ebpf.ErrKeyExist)
	}, t.failed(one)}
	if t.kind == TypeArray { // all elements exist
		return []step{overwrite, exists}
	}
	steps := []step{
		{"insert", "", func() error { return t.m.Update(one, first, ebpf.UpdateNoExist) },
			[]wantRecord{t.updated(one, first)}},
		overwrite,
		exists,
		{"delete", "", func() error { return t.m.Delete(one) },
			[]wantRecord{t.deleted(one)}},
		{"delete of a key that does not exist", "", func() error {
			return succeedsNot(t.m.Delete(one), ebpf.ErrKeyNotExist)
		}, nil},
	}
	if t.kind == TypeLPMTrie { // before 6.13 a trie takes BPF_NOEXIST for BPF_ANY
		return slices.Delete(steps, 2, 3)
	}
	return append(steps,
		step{"batch update", "", func() error {
			_, err := t.m.BatchUpdate([]selfTestKey{two, three}, []selfTestValue{first, second}, nil)
			return err
		}, []wantRecord{t.updated(two, first), t.updated(three, second)}},
		step{"lookup and delete", "lookup_and_delete", func() error {
			var value selfTestValue
			return t.m.LookupAndDelete(two, &value)
		}, []wantRecord{t.deleted(two)}},
		step{"batch lookup and delete", "lookup_and_delete_batch", func() error {
			var cursor ebpf.MapBatchCursor
			keys, values := make([]selfTestKey, 16), make([]selfTestValue, 16)
			_, err := t.m.BatchLookupAndDelete(&cursor, keys, values, nil)
			return succeedsNot(err, ebpf.ErrKeyNotExist)
		}, []wantRecord{{kind: recordDrained}}},
	)
}

func (t *selfTest) fexit() bool { return t.capture.mode == ModeFexit }

func (t *selfTest) updated(key selfTestKey, value selfTestValue) wantRecord {
	if t.fexit() {
		return wantRecord{kind: recordUpdated, key: key, value: value}
	}
	return wantRecord{kind: recordTouched, key: key}
}

func (t *selfTest) deleted(key selfTestKey) wantRecord {
	return wantRecord{kind: recordDeleted, key: key}
}

// failed is what a failed update leaves: nothing with fexit; fentry cannot know.
func (t *selfTest) failed(key selfTestKey) []wantRecord {
	if t.fexit() {
		return nil
	}
	return []wantRecord{{kind: recordTouched, key: key}}
}

// succeedsNot turns the failure that is wanted into success.
func succeedsNot(err, want error) error {
	switch {
	case errors.Is(err, want):
		return nil
	case err == nil:
		return fmt.Errorf("the kernel let it pass, not: %w", want)
	default:
		return err
	}
}

// evicts inserts more than the LRU map can hold until there is a record of an
// eviction, and checks that the map does not have that key. Other records of it
// are not looked at: however many come at once, they need not all fit.
func (t *selfTest) evicts() error {
	for n := range uint32(4 * selfTestEntries) {
		// The kernel can refuse an insert (ENOMEM): then it evicted nothing.
		_ = t.m.Put(t.testKey(n), selfTestValue{})
		for t.capture.reader.AvailableBytes() > 0 {
			got, err := t.next()
			if err != nil {
				return fmt.Errorf("step %q: %w", "eviction", err)
			}
			if got.kind != recordEvicted {
				continue
			}
			var value selfTestValue
			if err := succeedsNot(t.m.Lookup(slices.Clone(got.key), &value), ebpf.ErrKeyNotExist); err != nil {
				return fmt.Errorf("step %q: key %x: %w", "eviction", got.key, err)
			}
			return nil
		}
	}
	return fmt.Errorf("step %q: no record in the ring", "eviction")
}

// put writes the private map.
func (t *selfTest) put() error { return t.m.Put(t.bytes(t.testKey(4)), selfTestValue{4}) }

// apply writes it on the apply thread.
func (t *selfTest) apply() error {
	err := errors.New("the apply thread is gone: the Host is closed")
	t.onApplyThread(func() { err = t.put() })
	return err
}

// learnsOwn learns who the apply thread is, and checks that its writes then are
// counted as ours. It leaves no record.
func (t *selfTest) learnsOwn() error {
	if err := t.capture.learnOwnThread(t.id, t.apply); err != nil {
		return fmt.Errorf("step %q: %w", "write of the apply thread", err)
	}
	if err := t.capture.watch(t.id, t.slot); err != nil {
		return err
	}
	before, err := t.capture.readCounts(t.slot)
	if err != nil {
		return err
	}
	if err := t.apply(); err != nil {
		return fmt.Errorf("step %q: %w", "own write", err)
	}
	after, err := t.capture.readCounts(t.slot)
	if err != nil {
		return err
	}
	if after.Own != before.Own+1 {
		return fmt.Errorf("step %q: counted %d times as ours, not once", "own write", after.Own-before.Own)
	}
	return nil
}

// recognisesOwn is learnsOwn, and checks that only the apply thread is taken for
// ours.
func (t *selfTest) recognisesOwn() error {
	if err := t.learnsOwn(); err != nil {
		return err
	}
	if err := t.nothing(); err != nil {
		return fmt.Errorf("step %q: not recognised as ours: %w", "own write", err)
	}
	if err := t.put(); err != nil {
		return fmt.Errorf("step %q: %w", "write of another thread", err)
	}
	if _, err := t.next(); err != nil {
		return fmt.Errorf("step %q: %w", "write of another thread", err)
	}
	return t.nothing()
}
