//go:build linux

package mapwatch

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// hook is one kernel function that the capture listens on.
type hook struct {
	function string // kernel/bpf/hashtab.c
	fexit    string // programs of the capture object, of which one is loaded
	fentry   string
	lacking  string // what is left to the scan without it; empty: no capture without it
}

func hooks() []hook {
	return []hook{
		{function: "htab_map_update_elem", fexit: captureProgUpdateFexit, fentry: captureProgUpdateFentry},
		{function: "htab_map_delete_elem", fexit: captureProgDeleteFexit, fentry: captureProgDeleteFentry},
		{
			function: "__htab_map_lookup_and_delete_elem",
			fexit:    captureProgLookupAndDeleteFexit, fentry: captureProgLookupAndDeleteFentry,
			lacking: "deletes by lookup_and_delete",
		},
		{
			function: "__htab_map_lookup_and_delete_batch",
			fexit:    captureProgLookupAndDeleteBatch, fentry: captureProgLookupAndDeleteBatch,
			lacking: "deletes by lookup_and_delete_batch",
		},
	}
}

// program returns the name of the program that serves the hook in a mode.
func (h hook) program(mode Mode) string {
	if mode == ModeFentry {
		return h.fentry
	}
	return h.fexit
}

// selectPrograms leaves in spec the programs of one mode whose function this
// kernel has. lacking are sentences about functions that could be done without.
func selectPrograms(spec *ebpf.CollectionSpec, kernel *btf.Spec, mode Mode) (lacking []string, err error) {
	selected := make(map[string]*ebpf.ProgramSpec)
	for _, h := range hooks() {
		var function *btf.Func
		err := kernel.TypeByName(h.function, &function)
		switch {
		case err == nil:
			name := h.program(mode)
			program, ok := spec.Programs[name]
			if !ok {
				return nil, fmt.Errorf("select capture programs: the object has no program %s", name)
			}
			selected[name] = program
		case h.lacking == "":
			return nil, fmt.Errorf("hook kernel function %s: this kernel's BTF does not have it (%w), it was built or patched in another way than the kernels known here; use capture mode scan: %w", h.function, err, ErrUnsupported)
		default:
			lacking = append(lacking, fmt.Sprintf("this kernel's BTF has no function %s, so %s are found by the scan only", h.function, h.lacking))
		}
	}
	spec.Programs = selected
	return lacking, nil
}

// attach starts the loaded programs.
func (c *capture) attach() error {
	c.links = make(map[string]link.Link)
	for _, h := range hooks() {
		program := c.collection.Programs[h.program(c.mode)]
		if program == nil {
			continue
		}
		// The attach type is part of the loaded program.
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return explainRefusal("attach to kernel function "+h.function, err)
		}
		c.links[h.program(c.mode)] = l
	}
	return nil
}

// hooked reports whether the program is in the kernel.
func (c *capture) hooked(program string) bool {
	return c.collection.Programs[program] != nil
}
