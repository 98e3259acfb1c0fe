//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// scratchLimitBytes is the largest value of a per-CPU array
// (PCPU_MIN_UNIT_SIZE, kernel/bpf/arraymap.c): no record can be longer.
const scratchLimitBytes = 32 << 10

// capture is one set of capture programs in the kernel, with its ring. Not safe
// for concurrent use, but for the methods that say so.
type capture struct {
	mode       Mode // ModeFexit or ModeFentry
	collection *ebpf.Collection
	links      map[string]link.Link // by program
	reader     *ringbuf.Reader
	ledger     *ledger // nil unless the capture can be pinned
	// What readMisses said before the first map was watched.
	firstMisses hookMisses
	watching    map[uint32]bool // map IDs that the filter lets through
	reach
}

// capturePlan is what a capture on this kernel consists of.
type capturePlan struct {
	mode      Mode
	spec      *ebpf.CollectionSpec // with the programs of all types
	cache     *btf.Cache
	kernel    *btf.Spec
	variables ksyms
	guarded   bool    // the kernel has a recursion guard, so that there are catchers
	shapes    []Shape // the self-test's comes last
	ringBytes int
	reach
}

// planCapture finds out what a capture in one mode consists of. shapes are those
// of every map that will be watched, slot by slot; with pinnable, the capture
// has a ledger. Errors: ErrPermission, ErrUnsupported.
func planCapture(mode Mode, shapes []Shape, ringBytes int, pinnable bool) (*capturePlan, error) {
	version, err := checkHost()
	if err != nil {
		return nil, err
	}
	p := &capturePlan{
		mode: mode, cache: btf.NewCache(), ringBytes: ringBytes,
		shapes: append(slices.Clip(shapes), selfTestShape()),
		reach:  newReach(typesOf(shapes)),
	}
	if p.kernel, err = kernelTypes(p.cache); err != nil {
		return nil, err
	}
	p.findFunctions(p.kernel, version)
	if err := p.err(); err != nil {
		return nil, err
	}
	if p.variables, err = findKsyms(p.kernel, kallsymsPath); err != nil {
		return nil, err
	}
	p.guarded = hasRecursionGuard(p.kernel)
	if p.spec, err = loadCapture(); err != nil {
		return nil, fmt.Errorf("read the capture object: %w", err)
	}
	if pinnable {
		p.spec.Maps[ledgerMap] = ledgerSpec(len(p.shapes))
	}
	return p, nil
}

// watched are the shapes without the self-test's.
func (p *capturePlan) watched() []Shape { return p.shapes[:len(p.shapes)-1] }

// typesOf are the types of the maps, each once. Without maps it is one whose
// hooks tell what this host allows.
func typesOf(shapes []Shape) []string {
	var types []string
	for _, s := range shapes {
		if !slices.Contains(types, s.Type) {
			types = append(types, s.Type)
		}
	}
	if len(types) == 0 {
		types = []string{TypeHash}
	}
	return types
}

// open loads and attaches the programs, watching nothing yet. What one type is
// refused, others may get. Errors: ErrPermission, ErrUnsupported.
func (p *capturePlan) open() (*capture, error) {
	c, err := p.load()
	if err != nil && len(p.types) > 1 && !errors.Is(err, ErrPermission) {
		for _, kind := range slices.Clone(p.types) {
			only := p.only(kind)
			c, err := only.load()
			if err == nil {
				err = c.Close()
			}
			if err != nil {
				p.refuse(kind, err)
			}
		}
		if err = p.err(); err == nil {
			c, err = p.load()
		}
	}
	if err != nil {
		return nil, err
	}
	if err := c.attach(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// only is the plan for one of its types.
func (p *capturePlan) only(kind string) *capturePlan {
	only := *p
	only.reach = p.reach.clone()
	only.types = []string{kind}
	return &only
}

func (p *capturePlan) load() (*capture, error) {
	spec := p.spec.Copy()
	if err := p.selectPrograms(spec, p.kernel, p.mode, p.guarded); err != nil {
		return nil, err
	}
	if !p.guarded {
		if err := setVariable(spec, captureVarNests, uint32(1)); err != nil {
			return nil, err
		}
	}
	c := &capture{mode: p.mode, reach: p.reach.clone()}
	if err := c.load(spec, p.variables, ebpf.CollectionOptions{Cache: p.cache}, p.shapes, p.ringBytes); err != nil {
		return nil, err
	}
	return c, nil
}

// load puts the programs of spec in the kernel and opens their ring.
func (c *capture) load(spec *ebpf.CollectionSpec, variables ksyms, options ebpf.CollectionOptions, shapes []Shape, ringBytes int) (err error) {
	c.watching = make(map[uint32]bool)
	for _, program := range spec.Programs {
		variables.resolve(program.Instructions)
	}
	err = errors.Join(
		setVariable(spec, captureVarPreemptSource, variables.preemptSource),
		setVariable(spec, captureVarPerCpuOffsetAddress, variables.addresses[ksymPerCPUOffset]),
		setVariable(spec, captureVarProgActiveAddress, variables.addresses[ksymProgActive]),
		setVariable(spec, captureVarPreemptCountAddress, variables.addresses[ksymPreemptCount]),
	)
	if err != nil {
		return err
	}
	if err := sizeCapture(spec, shapes, ringBytes); err != nil {
		return err
	}
	c.collection, err = ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return explainRefusal("load the capture programs", err)
	}
	if err := c.openMaps(); err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// openMaps opens what this side reads and writes of the collection's maps.
func (c *capture) openMaps() (err error) {
	if c.reader, err = ringbuf.NewReader(c.collection.Maps[captureMapRing]); err != nil {
		return explainRefusal("map the capture ring", err)
	}
	if m := c.collection.Maps[ledgerMap]; m != nil {
		if c.ledger, err = openLedger(m); err != nil {
			return err
		}
	}
	return nil
}

// captureLimits says what a record can carry, in bytes.
type captureLimits struct {
	key, value, scratch int
}

// limitsFor returns the limits for maps of these shapes. A value above the limit
// is captured as "touched"; a key above it is counted as dropped. No record may
// take more than half of the ring.
func limitsFor(shapes []Shape, ringBytes int) captureLimits {
	budget := min(scratchLimitBytes, ringBytes/2) - recordHeadBytes - commBytes
	var limits captureLimits
	for _, shape := range shapes {
		if shape.KeyBytes <= budget/2 {
			limits.key = max(limits.key, shape.KeyBytes)
		}
	}
	for _, shape := range shapes {
		if shape.ValueBytes <= budget-limits.key {
			limits.value = max(limits.value, shape.ValueBytes)
		}
	}
	limits.scratch = (recordHeadBytes + limits.key + limits.value + commBytes + 7) &^ 7
	return limits
}

func sizeCapture(spec *ebpf.CollectionSpec, shapes []Shape, ringBytes int) error {
	limits := limitsFor(shapes, ringBytes)
	spec.Maps[captureMapRing].MaxEntries = uint32(ringBytes)
	spec.Maps[captureMapWatched].MaxEntries = uint32(len(shapes)) + 1 // for one that takes another's place
	spec.Maps[captureMapCounters].MaxEntries = uint32(len(shapes))
	spec.Maps[captureMapScratch].ValueSize = uint32(limits.scratch)
	return errors.Join(
		setVariable(spec, captureVarKeyLimit, uint64(limits.key)),
		setVariable(spec, captureVarValueLimit, uint64(limits.value)),
		setVariable(spec, captureVarWakeBytes, uint64(ringBytes/2)),
	)
}

func setVariable[T uint32 | uint64](spec *ebpf.CollectionSpec, name string, value T) error {
	variable, ok := spec.Variables[name]
	if !ok {
		return fmt.Errorf("set %s of the capture object: no such variable", name)
	}
	if err := variable.Set(value); err != nil {
		return fmt.Errorf("set %s of the capture object: %w", name, err)
	}
	return nil
}

// watch makes the programs capture the map with this ID as slot.
func (c *capture) watch(mapID, slot uint32) error {
	if err := c.collection.Maps[captureMapWatched].Put(mapID, slot); err != nil {
		return fmt.Errorf("watch map %d: %w", mapID, err)
	}
	c.watching[mapID] = true
	return c.setFilter()
}

// unwatch makes them ignore it again.
func (c *capture) unwatch(mapID uint32) error {
	if err := c.collection.Maps[captureMapWatched].Delete(mapID); err != nil {
		return fmt.Errorf("unwatch map %d: %w", mapID, err)
	}
	delete(c.watching, mapID)
	return c.setFilter()
}

// filterBits is FILTER_BITS in bpf/capture.bpf.c.
const filterBits = 4096

// setFilter lets through the maps that are watched, and the few others that
// share a bit with one.
func (c *capture) setFilter() error {
	var filter [filterBits / 64]uint64
	for id := range c.watching {
		filter[id%filterBits/64] |= 1 << (id % 64)
	}
	if err := c.collection.Variables[captureVarFilter].Set(filter); err != nil {
		return fmt.Errorf("set the filter of watched maps: %w", err)
	}
	return nil
}

// setReaderIdle chooses how the reader is woken: by the kernel's own rule when
// idle, else only when the ring fills.
func (c *capture) setReaderIdle(idle bool) error {
	var value uint32
	if idle {
		value = 1
	}
	return c.collection.Variables[captureVarReaderIdle].Set(value)
}

// setNameWriters chooses whether records say who wrote.
func (c *capture) setNameWriters(on bool) error {
	var value uint32
	if on {
		value = 1
	}
	return c.collection.Variables[captureVarNameWriters].Set(value)
}

// Close detaches and unloads everything that is not pinned. A reader that blocks
// returns.
func (c *capture) Close() error {
	var errs []error
	for _, l := range c.links {
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach capture program: %w", err))
		}
	}
	c.links = nil
	if c.reader != nil {
		if err := c.reader.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close capture ring: %w", err))
		}
		c.reader = nil
	}
	c.collection.Close()
	return errors.Join(errs...)
}
