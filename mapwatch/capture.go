//go:build linux

package mapwatch

import (
	"errors"
	"fmt"

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
	firstMisses uint64
	// Sentences about kernel functions that are absent here and what is
	// therefore left to the scan.
	lacking []string
}

// capturePlan is what a capture on this kernel consists of.
type capturePlan struct {
	mode      Mode
	spec      *ebpf.CollectionSpec
	types     *btf.Cache
	variables ksyms
	lacking   []string
	shapes    []Shape
	ringBytes int
}

// planCapture finds out what a capture in one mode consists of. shapes are those
// of every map that will be watched, slot by slot; with pinnable, the capture
// has a ledger. Errors: ErrPermission, ErrUnsupported.
func planCapture(mode Mode, shapes []Shape, ringBytes int, pinnable bool) (*capturePlan, error) {
	if err := checkHost(); err != nil {
		return nil, err
	}
	p := &capturePlan{mode: mode, types: btf.NewCache(), shapes: shapes, ringBytes: ringBytes}
	kernel, err := kernelTypes(p.types)
	if err != nil {
		return nil, err
	}
	if p.spec, err = loadCapture(); err != nil {
		return nil, fmt.Errorf("read the capture object: %w", err)
	}
	if p.lacking, err = selectPrograms(p.spec, kernel, mode); err != nil {
		return nil, err
	}
	if p.variables, err = findKsyms(kernel); err != nil {
		return nil, err
	}
	if pinnable {
		p.spec.Maps[ledgerMap] = ledgerSpec(len(shapes))
	}
	return p, nil
}

// open loads and attaches the programs, watching nothing yet.
// Errors: ErrPermission, ErrUnsupported.
func (p *capturePlan) open() (*capture, error) {
	c := &capture{mode: p.mode, lacking: p.lacking}
	if err := c.load(p.spec, p.variables, ebpf.CollectionOptions{Cache: p.types}, p.shapes, p.ringBytes); err != nil {
		return nil, err
	}
	if err := c.attach(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// load puts the programs of spec in the kernel and opens their ring.
func (c *capture) load(spec *ebpf.CollectionSpec, variables ksyms, options ebpf.CollectionOptions, shapes []Shape, ringBytes int) (err error) {
	for _, program := range spec.Programs {
		variables.resolve(program.Instructions)
	}
	if err := setVariable(spec, captureVarPreemptSource, variables.preemptSource); err != nil {
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
	budget := min(scratchLimitBytes, ringBytes/2) - recordHeadBytes
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
	limits.scratch = (recordHeadBytes + limits.key + limits.value + 7) &^ 7
	return limits
}

func sizeCapture(spec *ebpf.CollectionSpec, shapes []Shape, ringBytes int) error {
	limits := limitsFor(shapes, ringBytes)
	spec.Maps[captureMapRing].MaxEntries = uint32(ringBytes)
	spec.Maps[captureMapWatched].MaxEntries = uint32(len(shapes))
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
	return nil
}

// unwatch makes them ignore it again.
func (c *capture) unwatch(mapID uint32) error {
	if err := c.collection.Maps[captureMapWatched].Delete(mapID); err != nil {
		return fmt.Errorf("unwatch map %d: %w", mapID, err)
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
