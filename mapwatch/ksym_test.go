//go:build linux

package mapwatch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
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
	return kernelOf(t, types...)
}

// kernelOf is the BTF of a kernel that has just these types.
func kernelOf(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
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
	kallsyms := filepath.Join(t.TempDir(), "kallsyms")
	all := "000000000001fb80 A __preempt_count\n000000000002ffc0 A bpf_prog_active\nffffffff9a329940 D __per_cpu_offset\nffffffffc0001000 t bpf_prog_active\t[module]\n"
	for _, test := range []struct {
		variables []string
		kallsyms  string
		source    uint32
		says      string
		want      error
	}{
		{[]string{ksymProgActive, ksymPreemptCount}, "", preemptVariable, "", nil},
		{[]string{ksymProgActive, ksymPcpuHot}, "", preemptPcpuHot, "", nil},
		{[]string{ksymProgActive}, "", 0, "none is there", ErrUnsupported},
		{nil, all, preemptAddress, "", nil},
		{[]string{ksymPreemptCount}, all, preemptVariable, "", nil},
		{[]string{ksymPreemptCount}, "", 0, ksymProgActive, ErrUnsupported},
		{nil, strings.ReplaceAll(all, "000000000002ffc0", "0000000000000000"), 0, "CAP_SYSLOG", ErrPermission},
		{nil, strings.ReplaceAll(all, "__per_cpu_offset", "other"), 0, "CONFIG_KALLSYMS_ALL", ErrUnsupported},
		{nil, strings.ReplaceAll(all, "__preempt_count", "other"), 0, "none is there", ErrUnsupported},
		{nil, "0x12 A bpf_prog_active\n", 0, "invalid syntax", ErrUnsupported},
	} {
		if err := os.WriteFile(kallsyms, []byte(test.kallsyms), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := findKsyms(kernelWith(t, test.variables, nil), kallsyms)
		if test.says != "" {
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, %q: %v", test.variables, test.kallsyms, err)
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
		if inBTF := slices.Contains(test.variables, ksymProgActive); inBTF == (found.addresses[ksymProgActive] == 0x2ffc0) {
			t.Errorf("%v: addresses %x", test.variables, found.addresses)
		}
	}
	if _, err := findKsyms(kernelWith(t, nil, nil), kallsyms+"none"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("without a file: %v", err)
	}
}

// Where the preempt count is in the task, as on arm64: in a union there.
func TestFindTaskPreemptCount(t *testing.T) {
	long := &btf.Int{Name: "long", Size: 8}
	thread := &btf.Struct{Name: "thread_info", Size: 8, Members: []btf.Member{
		{Type: &btf.Union{Size: 8, Members: []btf.Member{{Name: "preempt_count", Type: long}}}},
	}}
	task := &btf.Struct{Name: "task_struct", Size: 8, Members: []btf.Member{{Name: "thread_info", Type: thread}}}
	found, err := findKsyms(kernelOf(t, task, &btf.Var{Name: ksymProgActive, Type: long, Linkage: btf.GlobalVar}), "")
	if err != nil || found.preemptSource != preemptTask {
		t.Errorf("source %d, error %v", found.preemptSource, err)
	}
}

// Every reference in the object is one that resolve knows, and becomes typed, or
// a zero where the kernel lacks the variable.
func TestResolveKsyms(t *testing.T) {
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	found, err := findKsyms(kernelWith(t, []string{ksymProgActive, ksymPcpuHot}, nil), "")
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
