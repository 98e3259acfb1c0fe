package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

var identity = state.Identity{Node: "a", Cluster: "test"} // never written to

// record is one thing that was written down: an entry, or a blob if mapName is
// empty.
type record struct {
	mapName string
	entry   crdt.Entry
	blob    string
}

// picture is what records come to, written so that it can be compared.
func picture(records []record) map[string]string {
	winners, p := map[string]crdt.Entry{}, map[string]string{}
	for _, r := range records {
		if r.mapName == "" {
			p["meta"] = r.blob
			continue
		}
		at := r.mapName + "/" + string(r.entry.Key)
		if w, ok := winners[at]; !ok || r.entry.Compare(w) > 0 {
			winners[at] = r.entry
			p[at] = show(r.entry)
		}
	}
	return p
}

func show(e crdt.Entry) string { return fmt.Sprintf("%v %v %q", e.Version, e.Deleted, e.Value) }

func pictureOf(saved *state.Saved) map[string]string {
	p := map[string]string{}
	if saved.Meta != nil {
		p["meta"] = string(saved.Meta)
	}
	for _, name := range saved.Maps() {
		for e := range saved.Entries(name) {
			p[name+"/"+string(e.Key)] = show(e.Entry)
		}
	}
	return p
}

// member writes to a Dir and keeps a list of what it wrote: the plain model.
type member struct {
	t        testing.TB
	disk     *fakefs.Disk
	logged   *bytes.Buffer
	dir      *state.Dir
	snapshot *state.Snapshot
	toAdd    []string

	records         []record
	flushed, synced int // how many of the records
	clock           int64
}

func newMember(t testing.TB) *member {
	return &member{t: t, disk: fakefs.New(), logged: &bytes.Buffer{}}
}

func (m *member) open() (*state.Saved, error) {
	dir, saved, err := state.Open(m.disk.Mount(), identity, slog.New(slog.NewTextHandler(m.logged, nil)))
	m.dir, m.snapshot = dir, nil
	return saved, err
}

func (m *member) append(mapName, key, value string, deleted bool) {
	m.clock++
	e := crdt.Entry{Key: []byte(key), Deleted: deleted, Version: crdt.Version{Time: crdt.Timestamp{Wall: m.clock}, Member: "a"}}
	if !deleted {
		e.Value = []byte(value)
	}
	m.records = append(m.records, record{mapName: mapName, entry: e})
	m.dir.Append(mapName, e, false)
}

func (m *member) meta(blob string) {
	m.records = append(m.records, record{blob: blob})
	m.dir.Meta([]byte(blob))
}

func (m *member) flush() error {
	n := len(m.records)
	err := m.dir.Flush()
	if err == nil && m.dir.Broken() == nil {
		m.flushed = n
	}
	return err
}

func (m *member) sync() error {
	n := m.flushed
	err := m.dir.Sync()
	if err == nil && m.dir.Broken() == nil {
		m.synced = n
	}
	return err
}

func (m *member) winners() map[string]record {
	w := map[string]record{}
	for _, r := range m.records {
		if r.mapName != "" {
			w[r.mapName+"/"+string(r.entry.Key)] = r // clocks rise: the last one wins
		}
	}
	return w
}

func (m *member) begin() (err error) {
	if m.snapshot, err = m.dir.Begin(); err != nil {
		m.snapshot = nil
		return err
	}
	m.toAdd = slices.Sorted(maps.Keys(m.winners()))
	return nil
}

// add adds n keys to the snapshot, with the entries of this time.
func (m *member) add(n int) {
	winners := m.winners()
	for _, at := range m.toAdd[:min(n, len(m.toAdd))] {
		m.snapshot.Add(winners[at].mapName, winners[at].entry, false)
	}
	m.toAdd = m.toAdd[min(n, len(m.toAdd)):]
}

func (m *member) commit() error {
	m.add(len(m.toAdd))
	n := len(m.records)
	err := m.snapshot.Commit()
	m.snapshot = nil
	if err == nil {
		m.flushed, m.synced = n, n
	}
	return err
}

// matches returns how many records, low to high, come to what was loaded; -1 if
// no such number does.
func (m *member) matches(saved *state.Saved, low, high int) int {
	got := pictureOf(saved)
	for n := high; n >= low; n-- {
		if maps.Equal(got, picture(m.records[:n])) {
			return n
		}
	}
	return -1
}

// story is a little of everything. It ends with the first error.
func (m *member) story(after func()) error {
	steps := []func() error{
		func() error { m.append("m", "k1", "v1", false); m.meta("one"); return m.flush() },
		func() error { m.append("m", "k2", "v2", false); m.append("n", "k1", "w1", false); return m.flush() },
		m.sync,
		func() error { m.append("m", "k1", "v3", false); return nil },
		m.begin,
		func() error { m.append("m", "k3", "v4", false); m.add(1); return m.flush() },
		func() error { m.append("m", "k2", "", true); m.append("n", "k4", "v5", false); m.add(1); return nil },
		func() error { return m.commit() },
		func() error { m.append("m", "k1", "v6", false); m.meta("two"); return m.flush() },
		m.sync,
		m.begin,
		func() error { m.append("n", "k1", "v7", false); m.snapshot.Abort(); return m.flush() },
		m.begin,
		func() error { m.append("n", "k1", "v8", false); m.add(2); return m.commit() },
		func() error { m.append("n", "k5", "v9", false); return m.flush() },
		func() error { m.append("n", "k6", "v9", false); return m.dir.Close() },
	}
	for _, step := range steps {
		err := step()
		if after != nil {
			after()
		}
		if err != nil {
			return err
		}
	}
	m.flushed, m.synced = len(m.records), len(m.records)
	return nil
}

var errTest = errors.New("test")
