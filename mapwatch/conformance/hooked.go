package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// whereHooked runs a test of captures on types that this kernel can capture in
// the mode under test, and on the others holds how they are refused: who asks for
// that mode gets an error that names the map, and with ModeAuto the map is left
// to the scan, with the reason, while a map next to it is not.
func whereHooked(run func(t *testing.T, s Subject)) func(t *testing.T, s Subject) {
	return func(t *testing.T, s Subject) {
		hooked, known := s.hooked[s.mapType]
		if known && !hooked {
			return // how it is refused was tested then
		}
		if hooked || s.mode == mapwatch.ModeScan {
			run(t, s)
			return
		}
		p, m := s.create(t, 4, 4, 4)
		w, err := s.Kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{Mode: s.mode})
		s.hooked[s.mapType] = err == nil
		if err == nil {
			must(t, w.Close())
			run(t, s)
			return
		}
		wantError(t, "watch of a map of a type that cannot be captured", err, mapwatch.ErrUnsupported)
		if !strings.Contains(err.Error(), p.Target()) {
			t.Errorf("the error does not name the map: %v", err)
		}
		hash := s
		hash.mapType = mapwatch.TypeHash
		_, beside := hash.create(t, 4, 4, 4)
		w, err = s.Kernel.Watch([]mapwatch.Map{m, beside}, mapwatch.Options{})
		must(t, err)
		defer w.Close()
		if mode, reason := w.Capture(0); mode == s.mode || reason == "" {
			t.Errorf("auto captures by %s, reason %q, where %s was refused: %v", mode, reason, s.mode, errors.Unwrap(err))
		}
		if mode, _ := w.Capture(1); mode == mapwatch.ModeScan || mode != w.Mode() {
			t.Errorf("the hash map beside is captured by %s, and the best of both by %s", mode, w.Mode())
		}
	}
}

// watchOfEachType: Capture tells of each map what Mode tells of the best one.
func watchOfEachType(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	w, err := s.Kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{})
	must(t, err)
	defer w.Close()
	mode, reason := w.Capture(0)
	if mode != w.Mode() {
		t.Errorf("the map is captured by %s and the best of one by %s", mode, w.Mode())
	}
	if mode != mapwatch.ModeFexit && reason == "" {
		t.Errorf("captured by %s, and no reason why not by a better way", mode)
	}
}
