package fake_test

import (
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

func TestSetWriter(t *testing.T) {
	k := fake.NewKernel(nil)
	defer k.Close()
	m := k.AddMap(mapwatch.Shape{Target: "/pins/m"})
	m.SetLayouts(layout.Layout{Kind: layout.Int, Bytes: 8}, layout.Layout{})
	opened, err := k.Open("/pins/m")
	if err != nil {
		t.Fatal(err)
	}
	if key, value := opened.Layouts(); key.Kind != layout.Int || value.Known() {
		t.Errorf("layouts are %+v and %+v", key, value)
	}
	w, err := k.Watch([]mapwatch.Map{opened}, mapwatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func() mapwatch.Change {
		t.Helper()
		if err := m.Write(make([]byte, 8), make([]byte, 8), 0); err != nil {
			t.Fatal(err)
		}
		batch := <-w.Batches()
		if len(batch.Changes) != 1 {
			t.Fatalf("%d changes, want 1", len(batch.Changes))
		}
		return batch.Changes[0]
	}
	named := [16]byte{'x', 'd', 'p', 'd'}
	for _, step := range []struct {
		do   func()
		want mapwatch.Change
	}{
		{func() {}, mapwatch.Change{}},
		{func() { m.SetWriter(7, mapwatch.SourceSyscall, "xdpd") }, mapwatch.Change{PID: 7}},
		{func() { w.NameWriters(true) }, mapwatch.Change{PID: 7, Source: mapwatch.SourceSyscall, Comm: named}},
		{func() { w.NameWriters(false) }, mapwatch.Change{PID: 7}},
	} {
		step.do()
		if got := write(); got.PID != step.want.PID || got.Source != step.want.Source || got.Comm != step.want.Comm {
			t.Errorf("written by %d %q %q, want %d %q %q", got.PID, got.Source, got.Comm, step.want.PID, step.want.Source, step.want.Comm)
		}
	}
}
