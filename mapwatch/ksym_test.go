//go:build linux

package mapwatch

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// kernelWith is the BTF of a kernel that has just these variables and functions.
func kernelWith(t *testing.T, variables, functions []string) *btf.Spec {
	t.Helper()
	integer := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	types := []btf.Type{integer}
	for _, name := range variables {
		types = append(types, &btf.Var{Name: name, Type: integer, Linkage: btf.GlobalVar})
	}
	for _, name := range functions {
		types = append(types, &btf.Func{Name: name, Type: &btf.FuncProto{Return: integer}, Linkage: btf.StaticFunc})
	}
	builder, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestFindKsyms(t *testing.T) {
	for _, test := range []struct {
		variables []string
		source    uint32
		says      string
	}{
		{[]string{ksymProgActive, ksymPreemptCount}, preemptVariable, ""},
		{[]string{ksymProgActive, ksymPcpuHot}, preemptPcpuHot, ""},
		{[]string{ksymProgActive}, 0, "neither is there"},
		{[]string{ksymPreemptCount}, 0, ksymProgActive},
	} {
		found, err := findKsyms(kernelWith(t, test.variables, nil))
		if test.says != "" {
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: %v", test.variables, err)
			}
			continue
		}
		if err != nil || found.preemptSource != test.source {
			t.Errorf("%v: source %d, error %v", test.variables, found.preemptSource, err)
		}
		for name, id := range found.ids {
			if present := slices.Contains(test.variables, name); present != (id != 0) {
				t.Errorf("%v: %s has ID %d", test.variables, name, id)
			}
		}
	}
}

// Every reference in the object is one that resolve knows, and becomes typed, or
// a zero where the kernel lacks the variable.
func TestResolveKsyms(t *testing.T) {
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	found, err := findKsyms(kernelWith(t, []string{ksymProgActive, ksymPcpuHot}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range spec.Programs {
		before := slices.Clone(program.Instructions)
		found.resolve(program.Instructions)
		typed := 0
		for i, ins := range program.Instructions {
			reference := before[i].Reference()
			id, ours := found.ids[reference]
			switch {
			case !ours:
				if ins.Src == pseudoBTFID && ins.OpCode.IsDWordLoad() {
					t.Errorf("%s: instruction %d, of %q, was changed", name, i, reference)
				}
				continue
			case id != 0 && (ins.Src != pseudoBTFID || ins.Constant != int64(id)):
				t.Errorf("%s: reference to %s is %v", name, reference, ins)
			case id == 0 && (ins.Src != asm.R0 || ins.Constant != 0):
				t.Errorf("%s: reference to absent %s is %v", name, reference, ins)
			}
			if ins.Dst != before[i].Dst || ins.Reference() != "" || ins.Source() != before[i].Source() {
				t.Errorf("%s: reference to %s is %v", name, reference, ins)
			}
			typed++
		}
		if typed < 3 {
			t.Errorf("%s: %d references, want those to %d variables", name, typed, len(found.ids))
		}
	}
}

func TestSelectPrograms(t *testing.T) {
	var functions []string
	for _, h := range hooks() {
		functions = append(functions, h.function)
	}
	for _, mode := range []Mode{ModeFexit, ModeFentry} {
		spec, err := loadCapture()
		if err != nil {
			t.Fatal(err)
		}
		lacking, err := selectPrograms(spec, kernelWith(t, nil, functions), mode)
		if err != nil || len(lacking) != 0 || len(spec.Programs) != len(functions) {
			t.Errorf("%s: %d programs, lacking %q, error %v", mode, len(spec.Programs), lacking, err)
		}
		for _, h := range hooks() {
			if program := spec.Programs[h.program(mode)]; program == nil || program.AttachTo != h.function {
				t.Errorf("%s: function %s has program %v", mode, h.function, program)
			}
		}
	}
	for i, h := range hooks() {
		spec, err := loadCapture()
		if err != nil {
			t.Fatal(err)
		}
		lacking, err := selectPrograms(spec, kernelWith(t, nil, slices.Delete(slices.Clone(functions), i, i+1)), ModeFexit)
		switch {
		case h.lacking == "":
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), h.function) {
				t.Errorf("without %s: %v", h.function, err)
			}
		case err != nil || len(lacking) != 1 || !strings.Contains(lacking[0], h.function) || len(spec.Programs) != len(functions)-1:
			t.Errorf("without %s: lacking %q, error %v", h.function, lacking, err)
		}
	}
}
