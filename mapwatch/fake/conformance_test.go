package fake_test

import (
	"fmt"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry, mapwatch.ModeScan} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, mode, func(t *testing.T) conformance.Subject {
				s, k := subject(t)
				if mode != mapwatch.ModeFexit {
					k.LimitCapture(mode, "this host has no trampolines")
				}
				return s
			})
		})
	}
}

// subject is a new kernel for the conformance suite.
func subject(t *testing.T) (conformance.Subject, *fake.Kernel) {
	t.Helper()
	k := fake.NewKernel(nil)
	t.Cleanup(func() { k.Close() })
	k.AddOther("/pins/prog", "program")
	k.AddMap(mapwatch.Shape{Target: "/pins/percpu", Type: "percpu_hash"})
	maps, pins := 0, 0
	return conformance.Subject{
		Kernel: k,
		Create: func(t *testing.T, shape mapwatch.Shape) conformance.Program {
			maps++
			shape.Target = fmt.Sprintf("/pins/map%d", maps)
			return newProgram(k, shape)
		},
		Pins: func(*testing.T) string {
			pins++
			return fmt.Sprintf("/pins/dir%d", pins)
		},
		Kill: func(*testing.T, mapwatch.Watch) { k.Kill() },
		Refused: map[string]error{
			"/pins/prog":   mapwatch.ErrNotMap,
			"/pins/percpu": mapwatch.ErrType,
		},
	}, k
}

// program is conformance.Program on a map of the fake.
type program struct {
	k *fake.Kernel
	m *fake.Map
}

func newProgram(k *fake.Kernel, shape mapwatch.Shape) program {
	m := k.AddMap(shape)
	m.SetWriter(1, mapwatch.SourceSyscall, "program")
	return program{k, m}
}

func (p program) Target() string                    { return p.m.Shape().Target }
func (p program) Update(key, value []byte) error    { return p.m.Write(key, value, 0) }
func (p program) Insert(key, value []byte) error    { return p.m.Insert(key, value, 0) }
func (p program) Overwrite(key, value []byte) error { return p.m.Overwrite(key, value, 0) }
func (p program) Delete(key []byte) error           { return p.m.Remove(key, 0) }
func (p program) Drain() error                      { return p.m.Drain() }
func (p program) Freeze(*testing.T)                 { p.m.Freeze() }
func (p program) Unpin(*testing.T)                  { p.k.Unpin(p.Target()) }

func (p program) Replace(*testing.T) conformance.Program {
	return newProgram(p.k, p.m.Shape())
}
