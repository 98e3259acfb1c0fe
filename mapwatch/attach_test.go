//go:build linux

package mapwatch

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// functionNames are those of all hooks.
func functionNames() []string {
	var names []string
	for _, h := range hooks() {
		names = append(names, h.function)
	}
	return names
}

var allTypes = []string{TypeHash, TypeLRUHash, TypeArray, TypeLPMTrie}

// Every hook has its programs in the object, on its function.
func TestSelectPrograms(t *testing.T) {
	kernel := kernelWith(t, nil, functionNames())
	for _, types := range [][]string{{TypeHash}, {TypeLRUHash}, {TypeArray}, {TypeLPMTrie}, allTypes} {
		for _, mode := range []Mode{ModeFexit, ModeFentry} {
			for _, catchers := range []bool{false, true} {
				spec, err := loadCapture()
				if err != nil {
					t.Fatal(err)
				}
				r := newReach(types)
				r.findFunctions(kernel, 6<<16)
				if err := r.selectPrograms(spec, kernel, mode, catchers); err != nil {
					t.Fatal(err)
				}
				if len(r.lacking) != 0 || len(r.refused) != 0 {
					t.Errorf("%v, %s: lacking %v, refused %v", types, mode, r.lacking, r.refused)
				}
				want := 0
				for _, h := range hooksOf(types...) {
					names := []string{h.program(mode)}
					if catchers && !h.alone {
						names = append(names, h.catcher(mode))
					}
					for _, name := range names {
						want++
						if program := spec.Programs[name]; program == nil || program.AttachTo != h.function {
							t.Errorf("%v, %s: function %s has program %v", types, mode, h.function, program)
						}
					}
				}
				if len(spec.Programs) != want {
					t.Errorf("%v, %s: %d programs, want %d", types, mode, len(spec.Programs), want)
				}
			}
		}
	}
}

// A function that this kernel lacks costs the types that come to it, and no others.
func TestFindFunctions(t *testing.T) {
	for i, h := range hooks() {
		kernel := kernelWith(t, nil, slices.Delete(functionNames(), i, i+1))
		r := newReach(allTypes)
		r.findFunctions(kernel, 6<<16)
		for _, kind := range allTypes {
			concerned := slices.Contains(h.types, kind)
			switch err := r.refused[kind]; {
			case (err != nil) != (concerned && h.lacking == ""):
				t.Errorf("without %s: %s: %v", h.function, kind, err)
			case err != nil && (!errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), h.function)):
				t.Errorf("without %s: %s: %v", h.function, kind, err)
			}
			if got := len(r.lacking[kind]) == 1 && strings.Contains(r.lacking[kind][0], h.function); got != (concerned && h.lacking != "") {
				t.Errorf("without %s: %s lacks %q", h.function, kind, r.lacking[kind])
			}
		}
		if err := r.err(); err != nil {
			t.Errorf("without %s: %v", h.function, err)
		}
	}
}

// What the kernel cannot do needs no hook.
func TestFindFunctionsBefore(t *testing.T) {
	names := slices.DeleteFunc(functionNames(), func(name string) bool { return name == "__htab_map_lookup_and_delete_elem" })
	for version, want := range map[uint32]int{5<<16 | 10<<8: 0, 5<<16 | 14<<8: 1} {
		r := newReach(allTypes)
		r.findFunctions(kernelWith(t, nil, names), version)
		if got := len(r.lacking[TypeHash]); got != want {
			t.Errorf("version %#x: lacking %q", version, r.lacking)
		}
	}
}

func TestReachOfNothing(t *testing.T) {
	r := newReach([]string{TypeHash, TypeArray, TypeLPMTrie})
	same := errors.New("same")
	r.refuse(TypeHash, same)
	r.refuse(TypeArray, same)
	if err := r.err(); err != nil {
		t.Errorf("with one type left: %v", err)
	}
	r.refuse(TypeLPMTrie, ErrUnsupported)
	if err := r.err(); !errors.Is(err, same) || !errors.Is(err, ErrUnsupported) || strings.Count(err.Error(), "same") != 1 {
		t.Errorf("with none: %v", err)
	}
}
