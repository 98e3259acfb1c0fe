package state_test

import (
	"testing"

	"github.com/mapgossip/mapgossip/state"
)

// FuzzOpen opens a directory with any snapshot and any two journals. It must give
// an error or a Dir that works, and what it loads must load again.
func FuzzOpen(f *testing.F) {
	m := newMember(f)
	if _, err := m.open(); err != nil {
		f.Fatal(err)
	}
	m.story(func() {
		files := m.disk.Files()
		f.Add(files["2.snapshot"], files["1.journal"], files["2.journal"], false)
		f.Add(files["2.snapshot"], files["2.journal"], files["3.journal"], true)
	})
	f.Fuzz(func(t *testing.T, snapshot, first, second []byte, later bool) {
		m := newMember(t)
		names := []string{"1.journal", "2.journal"}
		if later {
			names = []string{"2.journal", "3.journal"}
		}
		m.disk.Put("2.snapshot", snapshot)
		m.disk.Put(names[0], first)
		m.disk.Put(names[1], second)
		saved, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		want := pictureOf(saved)
		m.append("fuzz", "k", "v", false)
		if err := m.dir.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		if got := pictureOf(again); len(got) < len(want) || again.Len("fuzz") == 0 {
			t.Fatalf("loaded %v, then %v\n%s", want, got, m.logged)
		}
	})
}

// FuzzFrames is FuzzOpen with right checksums, so that what is in a frame is
// reached.
func FuzzFrames(f *testing.F) {
	m := newMember(f)
	if _, err := m.open(); err != nil {
		f.Fatal(err)
	}
	m.story(func() {
		for _, b := range m.disk.Files() {
			f.Add(state.Payloads(b))
		}
	})
	f.Fuzz(func(t *testing.T, payloads []byte) {
		m := newMember(t)
		m.disk.Put("1.journal", state.Frames(payloads))
		saved, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		want := pictureOf(saved)
		if got := pictureOf(reopenFuzz(t, m)); len(got) != len(want) {
			t.Fatalf("loaded %v, then %v\n%s", want, got, m.logged)
		}
	})
}

func reopenFuzz(t *testing.T, m *member) *state.Saved {
	m.disk.Kill()
	saved, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	return saved
}
