//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// reach is which types of maps the hooks of a capture reach, and what is left to
// the scan.
type reach struct {
	types   []string            // that are hooked
	refused map[string]error    // why the other ones of the watch are not
	lacking map[string][]string // by type: sentences about what its hooks do not see
}

func newReach(types []string) reach {
	return reach{types: slices.Clone(types), refused: make(map[string]error), lacking: make(map[string][]string)}
}

// refuse leaves maps of a type to the scan.
func (r *reach) refuse(kind string, why error) {
	r.types = slices.DeleteFunc(r.types, func(t string) bool { return t == kind })
	r.refused[kind] = why
}

// lack notes what maps of the hook's types are left to the scan with.
func (r *reach) lack(h hook, why string) {
	for _, kind := range h.types {
		r.lacking[kind] = append(r.lacking[kind], h.lacks(why))
	}
}

// err is not nil if no type is hooked.
func (r *reach) err() error {
	if len(r.types) > 0 {
		return nil
	}
	return typesRefused(maps.Clone(r.refused))
}

// typesRefused says why maps cannot be hooked, by type.
type typesRefused map[string]error

func (r typesRefused) Error() string {
	var texts []string
	for _, err := range r {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "; ")
}

func (r typesRefused) Unwrap() []error { return slices.Collect(maps.Values(r)) }

// of is an error that names the first map which is not hooked, or nil.
func (r typesRefused) of(shapes []Shape) error {
	for _, shape := range shapes {
		if err := r[shape.Type]; err != nil {
			return fmt.Errorf("map %s, of type %s: %w", shape.Target, shape.Type, err)
		}
	}
	return nil
}

func (r *reach) clone() reach {
	c := newReach(r.types)
	maps.Copy(c.refused, r.refused)
	for kind, sentences := range r.lacking {
		c.lacking[kind] = slices.Clone(sentences)
	}
	return c
}

// findFunctions looks for the functions of the hooks in the kernel's BTF and
// notes in r what is not there. version is the kernel's LINUX_VERSION_CODE.
func (r *reach) findFunctions(kernel *btf.Spec, version uint32) {
	for _, h := range hooksOf(r.types...) {
		var function *btf.Func
		err := kernel.TypeByName(h.function, &function)
		switch {
		case err == nil:
		case h.lacking == "":
			for _, kind := range h.types {
				r.refuse(kind, fmt.Errorf("hook kernel function %s: this kernel's BTF does not have it (%w), it was built or patched in another way than the kernels known here; use capture mode scan: %w", h.function, err, ErrUnsupported))
			}
		case version >= h.since:
			r.lack(h, "this kernel's BTF has no function "+h.function)
		}
	}
}

// selectPrograms leaves in spec the programs of one mode for the types that are
// hooked, without those whose function the kernel does not have.
func (r *reach) selectPrograms(spec *ebpf.CollectionSpec, kernel *btf.Spec, mode Mode, catchers bool) error {
	selected := make(map[string]*ebpf.ProgramSpec)
	for _, h := range hooksOf(r.types...) {
		var function *btf.Func
		if kernel.TypeByName(h.function, &function) != nil {
			continue
		}
		names := []string{h.program(mode)}
		if catcher := h.catcher(mode); catchers && catcher != "" {
			names = append(names, catcher)
		}
		for _, name := range names {
			if selected[name] = spec.Programs[name]; selected[name] == nil {
				return fmt.Errorf("select capture programs: the object has no program %s", name)
			}
		}
	}
	spec.Programs = selected
	return nil
}

// attach starts the loaded programs, type by type: what one type is refused does
// not keep the others from theirs.
func (c *capture) attach() error {
	c.links = make(map[string]link.Link)
	for _, kind := range slices.Clone(c.types) {
		if err := c.attachType(kind); err != nil {
			if err := c.refuse(kind, err); err != nil {
				return err
			}
		}
	}
	return c.err()
}

func (c *capture) attachType(kind string) error {
	for _, h := range hooksOf(kind) {
		if !c.hooked(h) || c.links[h.program(c.mode)] != nil {
			continue
		}
		err := c.attachProgram(h, h.program(c.mode))
		if err != nil && h.lacking != "" {
			c.lack(h, err.Error())
			err = c.unhook(h)
		}
		if err != nil {
			return err
		}
	}
	// After all first programs: the kernel runs the younger one before.
	for _, h := range hooksOf(kind) {
		catcher := h.catcher(c.mode)
		if !c.hooked(h) || c.collection.Programs[catcher] == nil || c.links[catcher] != nil {
			continue
		}
		if err := c.attachProgram(h, catcher); err != nil {
			return err
		}
	}
	return nil
}

func (c *capture) attachProgram(h hook, program string) error {
	// The attach type is part of the loaded program.
	l, err := link.AttachTracing(link.TracingOptions{Program: c.collection.Programs[program]})
	if err != nil {
		return explainRefusal("attach to kernel function "+h.function, err)
	}
	c.links[program] = l
	return nil
}

// refuse leaves maps of a type to the scan, and takes away the hooks that no
// other type needs.
func (c *capture) refuse(kind string, why error) error {
	c.reach.refuse(kind, why)
	var errs []error
	for _, h := range hooksOf(kind) {
		if !h.serves(c.types) {
			errs = append(errs, c.unhook(h))
		}
	}
	return errors.Join(errs...)
}

// unhook detaches and unloads the programs of a hook.
func (c *capture) unhook(h hook) error {
	var errs []error
	for _, name := range []string{h.catcher(c.mode), h.program(c.mode)} {
		if l := c.links[name]; l != nil {
			if err := l.Close(); err != nil {
				errs = append(errs, fmt.Errorf("detach capture program: %w", err))
			}
			delete(c.links, name)
		}
		if program := c.collection.Programs[name]; program != nil {
			program.Close()
			delete(c.collection.Programs, name)
		}
	}
	return errors.Join(errs...)
}

// hooked reports whether the hook's program is in the kernel.
func (c *capture) hooked(h hook) bool {
	return c.collection.Programs[h.program(c.mode)] != nil
}
