//go:build linux

package mapwatch

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Per-CPU variables of the kernel that the capture programs read.
const (
	ksymProgActive   = "bpf_prog_active"
	ksymPreemptCount = "__preempt_count"
	ksymPcpuHot      = "pcpu_hot"
)

// enum preempt_source in bpf/capture.bpf.c.
const (
	preemptVariable uint32 = 1
	preemptPcpuHot  uint32 = 2
)

// pseudoBTFID is BPF_PSEUDO_BTF_ID: the constant of a double-word load is the
// BTF ID of a kernel variable (include/uapi/linux/bpf.h, 5.10).
const pseudoBTFID asm.Register = 3

// ksyms are the BTF IDs of the kernel's per-CPU variables; 0 for one that this
// kernel does not have.
type ksyms struct {
	ids           map[string]btf.TypeID
	preemptSource uint32
}

// noKsyms is for programs that ask for none of them.
func noKsyms() ksyms {
	return ksyms{ids: map[string]btf.TypeID{ksymProgActive: 0, ksymPreemptCount: 0, ksymPcpuHot: 0}}
}

// findKsyms looks the variables up. ErrUnsupported if this kernel offers too
// few of them to tell our own writes from those that programs make in an
// interrupt.
func findKsyms(kernel *btf.Spec) (ksyms, error) {
	found := ksyms{ids: make(map[string]btf.TypeID)}
	for _, name := range []string{ksymProgActive, ksymPreemptCount, ksymPcpuHot} {
		var variable *btf.Var
		err := kernel.TypeByName(name, &variable)
		if errors.Is(err, btf.ErrNotFound) {
			found.ids[name] = 0
			continue
		}
		if err != nil {
			return ksyms{}, fmt.Errorf("find variable %s in the kernel's BTF: %w: %w", name, err, ErrUnsupported)
		}
		id, err := kernel.TypeID(variable)
		if err != nil {
			return ksyms{}, fmt.Errorf("find variable %s in the kernel's BTF: %w: %w", name, err, ErrUnsupported)
		}
		found.ids[name] = id
	}
	switch {
	case found.ids[ksymProgActive] == 0:
		return ksyms{}, fmt.Errorf("find variable %s in the kernel's BTF: it is not there, and without it our own writes cannot be told from those of other programs; use capture mode scan: %w", ksymProgActive, ErrUnsupported)
	case found.ids[ksymPreemptCount] != 0:
		found.preemptSource = preemptVariable
	case found.ids[ksymPcpuHot] != 0:
		found.preemptSource = preemptPcpuHot
	default:
		return ksyms{}, fmt.Errorf("find variable %s or %s in the kernel's BTF: neither is there (both are of x86), and without the preempt count a write in an interrupt could be taken for ours and get lost; use capture mode scan: %w", ksymPreemptCount, ksymPcpuHot, ErrUnsupported)
	}
	return found, nil
}

// resolve turns the references to the variables into typed ones, which
// bpf_this_cpu_ptr asks for. cilium/ebpf v0.22 only knows untyped ones (an
// address from kallsyms). A variable that the kernel lacks becomes 0: the
// setting preempt_source keeps the verifier from ever looking at that use.
func (k ksyms) resolve(program asm.Instructions) {
	for i := range program {
		old := &program[i]
		id, ours := k.ids[old.Reference()]
		if !ours || !old.OpCode.IsDWordLoad() {
			continue
		}
		// A new instruction, because the loader's own idea of the reference
		// is in metadata that only the loader can take away.
		typed := asm.Instruction{OpCode: old.OpCode, Dst: old.Dst}
		if id != 0 {
			typed.Src = pseudoBTFID
			typed.Constant = int64(id)
		}
		typed = typed.WithSymbol(old.Symbol()).WithSource(old.Source())
		if fn := btf.FuncMetadata(old); fn != nil {
			typed = btf.WithFuncMetadata(typed, fn)
		}
		program[i] = typed
	}
}
