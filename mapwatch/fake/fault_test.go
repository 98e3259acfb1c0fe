package fake_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
	_ "github.com/mapgossip/mapgossip/test/raceproc"
)

// open has a kernel with one map, /m, which is watched.
func open(t *testing.T, options mapwatch.Options) (*fake.Map, mapwatch.Map, mapwatch.Watch) {
	t.Helper()
	k := fake.NewKernel(nil)
	owner := k.AddMap(mapwatch.Shape{Target: "/m", KeyBytes: 1, ValueBytes: 1})
	m, err := k.Open("/m")
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Watch([]mapwatch.Map{m}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return owner, m, w
}

func write(t *testing.T, m *fake.Map, keys ...byte) {
	t.Helper()
	for _, key := range keys {
		if err := m.Write([]byte{key}, []byte{key + 100}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// keys are those of a batch's changes, in order.
func keys(batch mapwatch.Batch) string {
	var all []byte
	for _, change := range batch.Changes {
		all = append(all, change.Key...)
	}
	return string(all)
}

func TestLose(t *testing.T) {
	for _, test := range []struct {
		loss            fake.Loss
		rescan          []int
		dropped, missed uint64
	}{
		{fake.Dropped, []int{0}, 2, 0},
		{fake.Missed, []int{0}, 0, 2},
		{fake.Silent, nil, 0, 0},
	} {
		owner, _, w := open(t, mapwatch.Options{})
		owner.Lose(2, test.loss)
		write(t, owner, 'a', 'b', 'c')
		w.Barrier()
		batch := <-w.Batches()
		if keys(batch) != "c" || !slices.Equal(batch.Rescan, test.rescan) {
			t.Errorf("loss %d: changes of %q, rescan %v, want of c and %v", test.loss, keys(batch), batch.Rescan, test.rescan)
		}
		want := mapwatch.Counts{Captured: 1, Dropped: test.dropped, Missed: test.missed}
		if got := w.Counts(0); got != want {
			t.Errorf("loss %d: counts are %+v, want %+v", test.loss, got, want)
		}
		if owner.Len() != 3 {
			t.Errorf("loss %d: the map has %d elements, want 3", test.loss, owner.Len())
		}
	}
}

func TestLostRecordIsAnnouncedWithoutBarrier(t *testing.T) {
	owner, _, w := open(t, mapwatch.Options{})
	owner.Lose(1, fake.Dropped)
	write(t, owner, 'a')
	if batch := <-w.Batches(); len(batch.Changes) != 0 || !slices.Equal(batch.Rescan, []int{0}) {
		t.Errorf("batch is %+v, want a rescan of map 0 only", batch)
	}
}

func TestReverse(t *testing.T) {
	owner, _, w := open(t, mapwatch.Options{Poll: time.Hour})
	write(t, owner, 'a')
	owner.Reverse(3)
	write(t, owner, 'b', 'c', 'd', 'e')
	w.Barrier()
	batch := <-w.Batches()
	if keys(batch) != "adcbe" {
		t.Errorf("order is %q, want adcbe", keys(batch))
	}
	stamps := make(map[string]int64)
	for _, change := range batch.Changes {
		stamps[string(change.Key)] = change.Captured
	}
	if !(stamps["b"] < stamps["c"] && stamps["c"] < stamps["d"]) {
		t.Errorf("stamps are %v, want the order of the writes", stamps)
	}
}

func TestReverseOfTwoMaps(t *testing.T) {
	k := fake.NewKernel(nil)
	defer k.Close()
	shape := mapwatch.Shape{KeyBytes: 1, ValueBytes: 1}
	var owners []*fake.Map
	var maps []mapwatch.Map
	for _, target := range []string{"/m0", "/m1"} {
		shape.Target = target
		owners = append(owners, k.AddMap(shape))
		m, err := k.Open(target)
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, m)
	}
	w, err := k.Watch(maps, mapwatch.Options{Poll: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	owners[0].Reverse(2)
	owners[1].Reverse(2)
	write(t, owners[0], 'a')
	write(t, owners[1], 'b')
	write(t, owners[0], 'c')
	write(t, owners[1], 'd')
	w.Barrier()
	if got := keys(<-w.Batches()); got != "cadb" {
		t.Errorf("order is %q, want cadb", got)
	}
}

func TestMisread(t *testing.T) {
	owner, m, _ := open(t, mapwatch.Options{})
	write(t, owner, 'a', 'b')
	owner.Misread(1)
	for _, want := range []byte{'b' + 100, 'a' + 100} {
		if value, err := m.Lookup([]byte{'a'}); err != nil || value[0] != want {
			t.Errorf("value is %v (%v), want %d", value, err, want)
		}
	}
}

func TestFailApply(t *testing.T) {
	owner, m, w := open(t, mapwatch.Options{})
	owner.FailApply(2, mapwatch.ErrBusy)
	ops := []mapwatch.Op{
		{Key: []byte{'a'}, Value: []byte{1}},
		{Key: []byte{'a'}, Delete: true},
		{Key: []byte{'b'}, Value: []byte{1}},
	}
	m.Apply(ops)
	for i, op := range ops {
		if errors.Is(op.Err, mapwatch.ErrBusy) != (i < 2) {
			t.Errorf("op %d: error is %v", i, op.Err)
		}
	}
	if _, ok := owner.Get([]byte{'a'}); ok || owner.Len() != 1 {
		t.Errorf("the map has %d elements, want b only", owner.Len())
	}
	if own := w.Counts(0).Own; own != 1 {
		t.Errorf("%d own operations, want 1", own)
	}
}

func TestPokeIsSilent(t *testing.T) {
	owner, m, w := open(t, mapwatch.Options{})
	write(t, owner, 'a')
	w.Barrier()
	<-w.Batches()
	if err := owner.Poke([]byte{'a'}, []byte{7}); err != nil {
		t.Fatal(err)
	}
	if err := owner.Poke([]byte{'b'}, []byte{7}); !errors.Is(err, mapwatch.ErrNotFound) {
		t.Errorf("poke of an absent key: %v", err)
	}
	w.Barrier()
	if batch := <-w.Batches(); len(batch.Changes)+len(batch.Rescan) > 0 {
		t.Errorf("batch is %+v, want an empty one", batch)
	}
	if value, err := m.Lookup([]byte{'a'}); err != nil || value[0] != 7 {
		t.Errorf("value is %v (%v), want 7", value, err)
	}
}

func TestProgramsWriteAFrozenMap(t *testing.T) {
	owner, _, w := open(t, mapwatch.Options{})
	owner.Freeze()
	write(t, owner, 'a')
	w.Barrier()
	if got := keys(<-w.Batches()); got != "a" {
		t.Errorf("changes of %q, want of a", got)
	}
}

// In a bubble time stands still between events, and stamps differ all the same.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner, _, w := open(t, mapwatch.Options{Poll: 10 * time.Millisecond})
		start := time.Now()
		write(t, owner, 'a', 'b', 'c')
		batch := <-w.Batches()
		if waited := time.Since(start); waited != 10*time.Millisecond {
			t.Errorf("records waited %v for company, want the poll interval", waited)
		}
		if keys(batch) != "abc" {
			t.Errorf("changes of %q, want of abc", keys(batch))
		}
		last := int64(0)
		for _, change := range batch.Changes {
			if change.Captured <= last {
				t.Errorf("stamp %d after %d", change.Captured, last)
			}
			last = change.Captured
		}
		if batch.Upto <= last {
			t.Errorf("Upto is %d, the last stamp %d", batch.Upto, last)
		}

		// Nothing happens: no timer runs, so an hour passes in one step.
		synctest.Wait()
		start = time.Now()
		time.Sleep(time.Hour)
		select {
		case batch := <-w.Batches():
			t.Errorf("a batch of nothing: %+v", batch)
		default:
		}

		// A barrier does not wait for company.
		start = time.Now()
		write(t, owner, 'd')
		w.Barrier()
		if batch := <-w.Batches(); keys(batch) != "d" || time.Since(start) != 0 {
			t.Errorf("changes of %q after %v, want of d at once", keys(batch), time.Since(start))
		}
	})
}

func TestInjectedClock(t *testing.T) {
	now := int64(1000)
	k := fake.NewKernel(func() int64 { return now })
	if got := k.Now(); got != 1000 {
		t.Errorf("now is %d, want 1000", got)
	}
	now = 500 // A boot-time clock does not step back; nor does the fake.
	if got := k.Now(); got != 1001 {
		t.Errorf("now is %d, want 1001", got)
	}
	now = 2000
	if got := k.Now(); got != 2000 {
		t.Errorf("now is %d, want 2000", got)
	}
}

// Programs, applies, scans and the watch at once, for the race detector; the
// reader's picture from records is the map in the end.
func TestConcurrentUse(t *testing.T) {
	owner, m, w := open(t, mapwatch.Options{})
	var all sync.WaitGroup
	for cpu := range uint32(4) {
		all.Go(func() {
			for i := range 500 {
				key := []byte{byte(cpu)<<4 | byte(i%16)}
				if i%5 == 4 {
					_ = owner.Remove(key, cpu) // fails if it is not there
				} else if err := owner.Write(key, []byte{byte(i)}, cpu); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			op := []mapwatch.Op{{Key: []byte{0xff}, Value: []byte{1}}, {Key: []byte{0xff}, Delete: true}}
			m.Apply(op)
			if err := m.Scan(t.Context(), func(_, _ []byte, _ int) error { return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	end := make(chan int64, 1)
	go func() {
		all.Wait()
		end <- int64(w.Counts(0).Captured)
		w.Barrier()
	}()
	picture := make(map[string]string)
	seen := int64(0)
	for want := int64(-1); seen != want; {
		batch := <-w.Batches()
		for _, change := range batch.Changes {
			seen++
			if change.Kind == mapwatch.Deleted {
				delete(picture, string(change.Key))
			} else {
				picture[string(change.Key)] = string(change.Value)
			}
		}
		select {
		case want = <-end:
		default:
		}
	}
	content := owner.Content()
	if len(content) != len(picture) {
		t.Errorf("%d elements, %d by the records", len(content), len(picture))
	}
	for key, value := range content {
		if picture[key] != value {
			t.Errorf("key %x has value %x, by the records %x", key, value, picture[key])
		}
	}
}
