package state_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
)

func entryAt(wall int64, key, value string) crdt.Entry {
	e := crdt.Entry{Key: []byte(key), Value: []byte(value), Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "a"}}
	if value == "" {
		e.Value, e.Deleted = nil, true
	}
	return e
}

func reopen(t *testing.T, m *member) *state.Saved {
	t.Helper()
	if m.dir != nil {
		if err := m.dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func priorsOf(saved *state.Saved, key string) string {
	for e := range saved.Entries("m") {
		if string(e.Key) != key {
			continue
		}
		var words []string
		for _, p := range e.Priors {
			if p.Absent {
				words = append(words, "-")
			} else {
				words = append(words, string(p.Value))
			}
		}
		return string(e.Value) + " < " + strings.Join(words, " ")
	}
	return "no entry"
}

// TestPriors wants what journals replaced since the snapshot.
func TestPriors(t *testing.T) {
	for _, test := range []struct{ snapshot, journal, want string }{
		{"", "1a", "a < -"},
		{"1a", "", "a < "},
		{"1a", "2b", "b < a"},
		{"1a", "2b 3c", "c < a b"},
		{"", "1a 2b", "b < - a"},
		{"1a", "2b 3a", "a < b"},
		{"1a", "2b 3a 4c", "c < b a"},
		{"1a", "2b 3b", "b < a"},
		{"1a", "2", " < a"},
		{"1a", "2 3b", "b < a -"},
		{"", "1 2b", "b < -"},
		{"", "1a 2", " < a"},
		{"3c", "2b 3c", "c < b"}, // the snapshot had a later entry than the journal's first one
		{"1a", "2b 3c 4d 5e 6f", "f < b c d e"},
		{"", "2b 3c 4d 5e 6f", "f < b c d e"},
		{"1a", "2b 3c 4d 5e 6b", "b < a c d e"},
		{"1a", "2b 2b", "b < a"},
		{"5e", "2b", "e < b"},
		{"", "1a !", "a < "},
		{"1a", "2b !", "b < "},
		{"1a", "2b ! 3c", "c < b"},
		{"1a", "2b ! 3c !", "c < "},
	} {
		m := newMember(t)
		reopen(t, m)
		for _, word := range strings.Fields(test.snapshot) {
			m.dir.Append("m", entryAt(int64(word[0]-'0'), "k", word[1:]), false)
		}
		s, err := m.dir.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(test.snapshot) {
			s.Add("m", entryAt(int64(word[0]-'0'), "k", word[1:]), false)
		}
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		for i, word := range strings.Fields(test.journal) {
			if word == "!" {
				m.dir.Settled()
				continue
			}
			m.dir.Append("m", entryAt(int64(word[0]-'0'), "k", word[1:]), false)
			if i == 1 {
				reopen(t, m) // priors are of all journals since the snapshot
			}
		}
		if got := priorsOf(reopen(t, m), "k"); got != test.want {
			t.Errorf("snapshot %q, journal %q: %q, want %q", test.snapshot, test.journal, got, test.want)
		}
	}
}

// TestWaiting wants the latest word on whether the kernel holds an entry.
func TestWaiting(t *testing.T) {
	m := newMember(t)
	reopen(t, m)
	for i, waiting := range []bool{true, false} {
		key := fmt.Sprint("k", i)
		m.dir.Append("m", entryAt(1, key, "v"), !waiting)
		m.dir.Append("m", entryAt(1, key, "v"), waiting)
	}
	s, err := m.dir.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for e := range reopen(t, m).Entries("m") {
			if want := string(e.Key) == "k0"; e.Waiting != want {
				t.Errorf("key %s: waiting %v, want %v", e.Key, e.Waiting, want)
			}
		}
		if s, err = m.dir.Begin(); err != nil {
			t.Fatal(err)
		}
		s.Add("m", entryAt(1, "k0", "v"), true)
		s.Add("m", entryAt(1, "k1", "v"), false)
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}
