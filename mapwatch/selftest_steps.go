//go:build linux

package mapwatch

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// captures runs every operation once.
func (t *selfTest) captures() error {
	fexit := t.capture.mode == ModeFexit
	one, two, three := selfTestKey{1}, selfTestKey{2}, selfTestKey{3}
	first, second := selfTestValue{1, 15: 0xff}, selfTestValue{2, 15: 0xfe}

	updated := func(key selfTestKey, value selfTestValue) wantRecord {
		if fexit {
			return wantRecord{kind: recordUpdated, key: key, value: value}
		}
		return wantRecord{kind: recordTouched, key: key}
	}
	deleted := func(key selfTestKey) wantRecord {
		if fexit {
			return wantRecord{kind: recordDeleted, key: key}
		}
		return wantRecord{kind: recordTouched, key: key}
	}
	// A failed operation leaves nothing with fexit; fentry cannot know.
	failed := func(key selfTestKey) []wantRecord {
		if fexit {
			return nil
		}
		return []wantRecord{{kind: recordTouched, key: key}}
	}
	// succeedsNot turns the failure that is wanted into success.
	succeedsNot := func(err, want error) error {
		switch {
		case errors.Is(err, want):
			return nil
		case err == nil:
			return fmt.Errorf("the kernel let it pass, not: %w", want)
		default:
			return err
		}
	}

	steps := []struct {
		name    string
		program string // must be loaded, unless empty
		do      func() error
		want    []wantRecord
	}{
		{"insert", "", func() error { return t.m.Update(one, first, ebpf.UpdateNoExist) },
			[]wantRecord{updated(one, first)}},
		{"overwrite", "", func() error { return t.m.Update(one, second, ebpf.UpdateAny) },
			[]wantRecord{updated(one, second)}},
		{"insert of a key that exists", "", func() error {
			return succeedsNot(t.m.Update(one, first, ebpf.UpdateNoExist), ebpf.ErrKeyExist)
		}, failed(one)},
		{"delete", "", func() error { return t.m.Delete(one) },
			[]wantRecord{deleted(one)}},
		{"delete of a key that does not exist", "", func() error {
			return succeedsNot(t.m.Delete(one), ebpf.ErrKeyNotExist)
		}, failed(one)},
		{"batch update", "", func() error {
			_, err := t.m.BatchUpdate([]selfTestKey{two, three}, []selfTestValue{first, second}, nil)
			return err
		}, []wantRecord{updated(two, first), updated(three, second)}},
		{"lookup and delete", captureProgLookupAndDeleteFexit, func() error {
			var value selfTestValue
			return t.m.LookupAndDelete(two, &value)
		}, []wantRecord{deleted(two)}},
		{"batch lookup and delete", captureProgLookupAndDeleteBatch, func() error {
			var cursor ebpf.MapBatchCursor
			keys, values := make([]selfTestKey, 16), make([]selfTestValue, 16)
			_, err := t.m.BatchLookupAndDelete(&cursor, keys, values, nil)
			return succeedsNot(err, ebpf.ErrKeyNotExist)
		}, []wantRecord{{kind: recordDrained}}},
	}
	for _, step := range steps {
		if step.program == captureProgLookupAndDeleteFexit && !fexit {
			step.program = captureProgLookupAndDeleteFentry
		}
		if step.program != "" && !t.capture.hooked(step.program) {
			continue
		}
		err := step.do()
		if step.program != "" && errors.Is(err, ebpf.ErrNotSupported) {
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

// apply writes the private map on the apply thread.
func (t *selfTest) apply() error {
	err := errors.New("the apply thread is gone: the Host is closed")
	t.onApplyThread(func() { err = t.m.Put(selfTestKey{4}, selfTestValue{4}) })
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
	if err := t.m.Put(selfTestKey{4}, selfTestValue{4}); err != nil {
		return fmt.Errorf("step %q: %w", "write of another thread", err)
	}
	if _, err := t.next(); err != nil {
		return fmt.Errorf("step %q: %w", "write of another thread", err)
	}
	return t.nothing()
}
