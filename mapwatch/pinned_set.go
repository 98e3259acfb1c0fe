//go:build linux

package mapwatch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// setFormat is the version of what a set consists of besides the capture object.
const setFormat = 2

// rodataMap holds the settings of the programs; nobody needs it after the load.
const rodataMap = ".rodata"

// setName is where the capture of this plan is pinned. It differs when anything
// does that a successor must find the same: the programs, the mode, the maps and
// their order, the ring's size, this run of the kernel.
func (p *capturePlan) setName(boot string) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%d %q %s %d\n", setFormat, boot, p.mode, p.ringBytes)
	for _, s := range p.shapes {
		fmt.Fprintf(hash, "%d %s %d %d\n", s.ID, s.Type, s.KeyBytes, s.ValueBytes)
	}
	hash.Write(_CaptureBytes)
	return setPrefix + hex.EncodeToString(hash.Sum(nil)[:16])
}

// setFiles are the names within a set.
func mapFile(name string) string {
	if name == ".bss" {
		name = "bss" // bpffs allows no dot
	}
	return "map_" + name
}
func programFile(name string) string { return "program_" + name }
func linkFile(name string) string    { return "link_" + name }

// pin makes c outlive the process, under that name, and ends all sets that were
// there before. c must run and watch its maps already. Errors wrap errNotPinned.
func (p *pins) pin(c *capture, set string) error {
	err := os.RemoveAll(p.path(setUnfinished))
	if err == nil {
		err = p.pinAll(c, setUnfinished)
	}
	if err == nil {
		// One of the same name is not whole: it could not be taken over.
		err = p.remove(setUnfinished)
	}
	if err == nil {
		err = os.Rename(p.path(setUnfinished), p.path(set))
	}
	if err != nil {
		err = fmt.Errorf("%w in %s: %w", errNotPinned, p.dir, explainPins(err))
		return errors.Join(err, os.RemoveAll(p.path(setUnfinished)))
	}
	return nil
}

// rename gives the capture that is pinned the name of another plan, because it
// captures what that one says.
func (p *pins) rename(set, as string) error {
	if err := os.Rename(p.path(set), p.path(as)); err != nil {
		return fmt.Errorf("%w in %s: %w", errNotPinned, p.dir, explainPins(err))
	}
	return nil
}

func (p *pins) pinAll(c *capture, set string) error {
	if err := os.Mkdir(p.path(set), 0o700); err != nil {
		return err
	}
	for name, m := range c.collection.Maps {
		if name == rodataMap {
			continue
		}
		if err := m.Pin(p.path(set, mapFile(name))); err != nil {
			return err
		}
	}
	for name, program := range c.collection.Programs {
		if err := program.Pin(p.path(set, programFile(name))); err != nil {
			return err
		}
		if err := c.links[name].Pin(p.path(set, linkFile(name))); err != nil {
			return err
		}
	}
	return nil
}

// takeOver opens the pinned capture of this plan, whose programs were attached
// all the time.
func (p *capturePlan) takeOver(pins *pins, set string) (_ *capture, err error) {
	spec := p.spec.Copy()
	if err := sizeCapture(spec, p.shapes, p.ringBytes); err != nil {
		return nil, err
	}
	c := &capture{mode: p.mode, collection: &ebpf.Collection{}, links: make(map[string]link.Link), reach: p.reach.clone()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("take over the pinned capture %s: %w", set, err), c.Close())
		}
	}()
	if err := p.findRefused(&c.reach, pins, set); err != nil {
		return nil, err
	}
	programs, err := p.openPinnedPrograms(&c.reach, pins, set, spec)
	if err != nil {
		return nil, err
	}
	// Without programs the loader makes nothing, given each map: it compares
	// them with the object's and finds the variables.
	spec.Programs = nil
	delete(spec.Maps, rodataMap)
	for name, variable := range spec.Variables {
		if variable.SectionName == rodataMap {
			delete(spec.Variables, name)
		}
	}
	if c.collection, err = openPinnedMaps(pins, set, spec); err != nil {
		c.collection = &ebpf.Collection{Programs: programs}
		return nil, err
	}
	c.collection.Programs = programs
	for name := range programs {
		if c.links[name], err = link.LoadPinnedLink(pins.path(set, linkFile(name)), nil); err != nil {
			delete(c.links, name)
			return nil, err
		}
	}
	if err := c.openMaps(); err != nil {
		return nil, err
	}
	return c, c.checkWatched(p.watched())
}

// pinned reports whether the set has that program.
func (p *pins) pinned(set, program string) bool {
	_, err := os.Lstat(p.path(set, programFile(program)))
	return err == nil
}

// findRefused notes which types the pinned capture could not hook, and why that
// is so still. If it is not, the capture is not worth keeping.
func (p *capturePlan) findRefused(r *reach, pins *pins, set string) error {
	for _, kind := range p.types {
		whole := true
		for _, h := range hooksOf(kind) {
			whole = whole && (h.lacking != "" || pins.pinned(set, h.program(p.mode)))
		}
		if whole {
			continue
		}
		c, err := p.only(kind).open()
		if err == nil {
			return errors.Join(fmt.Errorf("it has no hooks for maps of type %s, which can be had", kind), c.Close())
		}
		r.refuse(kind, err)
	}
	return r.err()
}

// openPinnedPrograms opens what the set has of the plan's programs.
func (p *capturePlan) openPinnedPrograms(r *reach, pins *pins, set string, spec *ebpf.CollectionSpec) (map[string]*ebpf.Program, error) {
	if err := r.selectPrograms(spec, p.kernel, p.mode, p.guarded); err != nil {
		return nil, err
	}
	programs := make(map[string]*ebpf.Program, len(spec.Programs))
	for _, h := range hooksOf(r.types...) {
		for _, name := range []string{h.program(p.mode), h.catcher(p.mode)} {
			if spec.Programs[name] == nil {
				continue
			}
			if h.lacking != "" && !pins.pinned(set, h.program(p.mode)) {
				r.lack(h, "function "+h.function+" could not be hooked when the pinned capture began")
				break
			}
			program, err := ebpf.LoadPinnedProgram(pins.path(set, programFile(name)), nil)
			if err != nil {
				closePrograms(programs)
				return nil, err
			}
			programs[name] = program
		}
	}
	return programs, nil
}

func openPinnedMaps(pins *pins, set string, spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	pinned := make(map[string]*ebpf.Map, len(spec.Maps))
	defer func() {
		for _, m := range pinned {
			m.Close()
		}
	}()
	for name := range spec.Maps {
		m, err := ebpf.LoadPinnedMap(pins.path(set, mapFile(name)), nil)
		if err != nil {
			return nil, err
		}
		pinned[name] = m
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: pinned})
}

func closePrograms(programs map[string]*ebpf.Program) {
	for _, program := range programs {
		program.Close()
	}
}

// checkWatched checks that the capture watches these maps, those that it can
// hook, and makes it ignore what else an unfinished self-test left.
func (c *capture) checkWatched(shapes []Shape) error {
	var id, slot uint32
	var others []uint32
	c.watching = make(map[uint32]bool)
	entries := c.collection.Maps[captureMapWatched].Iterate()
	for entries.Next(&id, &slot) {
		if int64(slot) < int64(len(shapes)) && shapes[slot].ID == id && c.refused[shapes[slot].Type] == nil {
			c.watching[id] = true
		} else {
			others = append(others, id)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read what it watches: %w", err)
	}
	for _, shape := range shapes {
		if !c.watching[shape.ID] && c.refused[shape.Type] == nil {
			return fmt.Errorf("it does not watch map %d", shape.ID)
		}
	}
	for _, id := range others {
		if err := c.unwatch(id); err != nil {
			return err
		}
	}
	return c.setFilter()
}
