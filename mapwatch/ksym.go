//go:build linux

package mapwatch

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

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
	preemptTask     uint32 = 3
	preemptAddress  uint32 = 4
)

// pseudoBTFID is BPF_PSEUDO_BTF_ID: the constant of a double-word load is the
// BTF ID of a kernel variable (include/uapi/linux/bpf.h, 5.10).
const pseudoBTFID asm.Register = 3

// kallsymsPath tells the addresses of the kernel's variables, to those who have
// CAP_SYSLOG.
const kallsymsPath = "/proc/kallsyms"

// ksymPerCPUOffset is the kernel's array of where the variables of each CPU begin.
const ksymPerCPUOffset = "__per_cpu_offset"

// ksyms are the BTF IDs of the kernel's per-CPU variables; 0 for one that this
// kernel does not have. If its BTF leaves them out, addresses tells where they are.
type ksyms struct {
	ids           map[string]btf.TypeID
	addresses     map[string]uint64
	preemptSource uint32
}

// noKsyms is for programs that ask for none of them.
func noKsyms() ksyms {
	return ksyms{ids: map[string]btf.TypeID{ksymProgActive: 0, ksymPreemptCount: 0, ksymPcpuHot: 0}}
}

// findKsyms looks the variables up. ErrUnsupported if this kernel offers too
// few of them to tell our own writes from those that programs make in an
// interrupt.
func findKsyms(kernel *btf.Spec, kallsyms string) (_ ksyms, err error) {
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
	if found.ids[ksymProgActive] == 0 {
		found.addresses, err = readKallsyms(kallsyms, ksymProgActive, ksymPreemptCount, ksymPerCPUOffset)
		if err != nil {
			return ksyms{}, fmt.Errorf("find variable %s in the kernel's BTF: it is not there, and without it our own writes cannot be told from those of other programs: %w", ksymProgActive, err)
		}
	}
	switch {
	case found.ids[ksymPreemptCount] == 0 && found.addresses[ksymPreemptCount] != 0:
		found.preemptSource = preemptAddress
	case found.ids[ksymPreemptCount] != 0:
		found.preemptSource = preemptVariable
	case found.ids[ksymPcpuHot] != 0:
		found.preemptSource = preemptPcpuHot
	case hasTaskPreemptCount(kernel):
		found.preemptSource = preemptTask
	default:
		return ksyms{}, fmt.Errorf("find variable %s or %s, or thread_info.preempt_count, in the kernel's BTF: none is there, and without the preempt count a write in an interrupt could be taken for ours and get lost; use capture mode scan: %w", ksymPreemptCount, ksymPcpuHot, ErrUnsupported)
	}
	return found, nil
}

// readKallsyms reads the addresses of variables from a file like /proc/kallsyms:
// all but __preempt_count must be there. Errors: ErrPermission, ErrUnsupported.
func readKallsyms(path string, names ...string) (map[string]uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("find it in %s: %w; use capture mode scan: %w", path, err, ErrUnsupported)
	}
	defer file.Close()
	found := make(map[string]uint64)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // address, type, name, perhaps a module
		if len(fields) != 3 || !slices.Contains(names, fields[2]) {
			continue
		}
		if found[fields[2]], err = strconv.ParseUint(fields[0], 16, 64); err != nil {
			return nil, fmt.Errorf("find it in %s: %w; use capture mode scan: %w", path, err, ErrUnsupported)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("find it in %s: %w; use capture mode scan: %w", path, err, ErrUnsupported)
	}
	for _, name := range names {
		address, there := found[name]
		switch {
		case !there && name != ksymPreemptCount:
			return nil, fmt.Errorf("find it in %s: %s is not there (CONFIG_KALLSYMS_ALL); use capture mode scan: %w", path, name, ErrUnsupported)
		case there && address == 0:
			return nil, fmt.Errorf("find it in %s: addresses are hidden from this process; run with CAP_SYSLOG, or use capture mode scan: %w", path, ErrPermission)
		}
	}
	return found, nil
}

// hasTaskPreemptCount reports whether this kernel's preempt count is in the
// thread_info of a task, and that in its task_struct (arm64, riscv).
func hasTaskPreemptCount(kernel *btf.Spec) bool {
	var task, thread *btf.Struct
	return kernel.TypeByName("task_struct", &task) == nil && hasMember(task, "thread_info") &&
		kernel.TypeByName("thread_info", &thread) == nil && hasMember(thread, "preempt_count")
}

// hasMember looks in anonymous structs and unions, too.
func hasMember(in btf.Type, name string) bool {
	var members []btf.Member
	switch t := btf.UnderlyingType(in).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	return slices.ContainsFunc(members, func(m btf.Member) bool {
		return m.Name == name || m.Name == "" && hasMember(m.Type, name)
	})
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
