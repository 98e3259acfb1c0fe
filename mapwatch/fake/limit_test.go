package fake_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// A kernel that cannot hook tries keeps all the contracts, and says so of tries.
func TestConformanceWithoutTrieHooks(t *testing.T) {
	t.Parallel()
	conformance.Run(t, mapwatch.ModeFexit, func(t *testing.T) conformance.Subject {
		s, k := subject(t)
		k.LimitTypeCapture(mapwatch.TypeLPMTrie, mapwatch.ModeScan, "this kernel has no function to hook")
		return s
	})
}

// Each map has the lowest of the limits that hold for it.
func TestLimits(t *testing.T) {
	t.Parallel()
	k := fake.NewKernel(nil)
	defer k.Close()
	var maps []mapwatch.Map
	add := func(target, kind string) *fake.Map {
		m := k.AddMap(mapwatch.Shape{Target: target, Type: kind})
		opened, err := k.Open(target)
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, opened)
		return m
	}
	add("/hash", mapwatch.TypeHash)
	trie := add("/trie", mapwatch.TypeLPMTrie)
	add("/one", mapwatch.TypeHash).LimitCapture(mapwatch.ModeScan, "just so")
	add("/array", mapwatch.TypeArray)
	k.LimitTypeCapture(mapwatch.TypeLPMTrie, mapwatch.ModeScan, "no hook for tries")
	k.LimitTypeCapture(mapwatch.TypeArray, mapwatch.ModeFentry, "no results")
	w, err := k.Watch(maps, mapwatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.Mode() != mapwatch.ModeFexit || w.Reason() != "" {
		t.Errorf("the best is %s, %q", w.Mode(), w.Reason())
	}
	for i, want := range []struct {
		mode   mapwatch.Mode
		reason string
	}{{mapwatch.ModeFexit, ""}, {mapwatch.ModeScan, "no hook for tries"}, {mapwatch.ModeScan, "just so"}, {mapwatch.ModeFentry, "no results"}} {
		if mode, reason := w.Capture(i); mode != want.mode || reason != want.reason {
			t.Errorf("map %d is captured by %s, %q, want %s, %q", i, mode, reason, want.mode, want.reason)
		}
	}
	// What is left to the scan makes no records and counts nothing.
	key := make([]byte, 8)
	if err := trie.Write(key, key, 0); err != nil {
		t.Error(err)
	}
	if counts := w.Counts(1); counts != (mapwatch.Counts{}) {
		t.Errorf("counts are %+v", counts)
	}
	if _, err := k.Watch(maps, mapwatch.Options{Mode: mapwatch.ModeFentry}); !errors.Is(err, mapwatch.ErrUnsupported) || !strings.Contains(err.Error(), "/trie") {
		t.Errorf("error is %v, want ErrUnsupported that names the trie", err)
	}
	scan, err := k.Watch(maps, mapwatch.Options{Mode: mapwatch.ModeScan})
	if err != nil || scan.Mode() != mapwatch.ModeScan {
		t.Fatalf("watch by scan: %v", err)
	}
	scan.Close()
	k.LimitCapture(mapwatch.ModeScan, "no trampolines")
	all, err := k.Watch(maps, mapwatch.Options{})
	if err != nil || all.Mode() != mapwatch.ModeScan || all.Reason() == "" {
		t.Fatalf("watch of a host without trampolines: %v", err)
	}
	all.Close()
}
