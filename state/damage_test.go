package state_test

import (
	"maps"
	"testing"

	"github.com/mapgossip/mapgossip/state/fakefs"
)

// TestFlipAnywhere inverts each bit of a directory with a snapshot and two
// journals. What is loaded is then what was written up to some point, or nothing.
func TestFlipAnywhere(t *testing.T) {
	m := newMember(t)
	if _, err := m.open(); err != nil {
		t.Fatal(err)
	}
	if err := m.story(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.open(); err != nil {
		t.Fatal(err)
	}
	m.append("m", "k1", "last", false)
	m.append("m", "k1", "very last", false)
	m.flush()
	m.disk.Kill()
	whole, points := m.disk.Files(), 0
	for name, b := range whole {
		for at := range len(b) * 8 {
			points++
			next := *m
			next.disk = fakefs.New()
			for name, b := range whole {
				next.disk.Put(name, b)
			}
			next.disk.Flip(name, at/8, uint(at%8))
			next.logged.Reset()
			saved, err := next.open()
			if err != nil {
				t.Fatalf("%s, bit %d: %v", name, at, err)
			}
			if next.matches(saved, 0, len(m.records)) < 0 {
				t.Fatalf("%s, bit %d: loaded %v", name, at, pictureOf(saved))
			}
			if next.logged.Len() == 0 {
				t.Fatalf("%s, bit %d: nothing was said", name, at)
			}
			// Nothing is lost silently, and the next start has no complaint.
			next.dir.Close()
			next.logged.Reset()
			again, err := next.open()
			if err != nil || !maps.Equal(pictureOf(again), pictureOf(saved)) || next.logged.Len() > 0 && len(pictureOf(saved)) == 0 {
				t.Fatalf("%s, bit %d: the second start: %v, %v\n%s", name, at, err, pictureOf(again), next.logged)
			}
		}
	}
	t.Logf("%d bits", points)
}
