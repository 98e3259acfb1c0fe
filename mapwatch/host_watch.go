//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	defaultRingBytes = 8 << 20
	defaultPoll      = time.Millisecond
	defaultQueue     = 64
)

// Watch implements Kernel. maps must be open maps of this Host, each kernel map
// once. With ModeAuto it does not fail for want of trampolines: the Watch then
// says in Reason why it only scans.
//
// Several watches can run at the same time; each has its own ring and programs.
// Close the watches before the Host.
func (h *Host) Watch(maps []Map, options Options) (Watch, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	shapes, err := h.watchShapes(maps)
	if err != nil {
		return nil, err
	}
	var p *pins
	if options.Pins != "" {
		if p, err = openPins(options.Pins); err != nil {
			return nil, err
		}
	}
	w, err := h.watch(shapes, p, options)
	if p != nil && (err != nil || w.Mode() == ModeScan) {
		err = errors.Join(err, p.Close())
	}
	return w, err
}

// watch is Watch for valid arguments. A hookWatch owns p.
func (h *Host) watch(shapes []Shape, p *pins, options Options) (Watch, error) {
	switch options.Mode {
	case ModeScan:
		return h.watchByScan("capture mode scan was asked for", p)
	case ModeFexit, ModeFentry:
		w, err := h.watchHooks(options.Mode, shapes, p, options)
		if err != nil {
			return nil, fmt.Errorf("capture by %s: %w", options.Mode, err)
		}
		if options.Mode == ModeFentry {
			w.reason = joinReasons("capture mode fentry was asked for", w.reason)
		}
		return w, nil
	}

	w, fexitErr := h.watchHooks(ModeFexit, shapes, p, options)
	if fexitErr == nil {
		return w, nil
	}
	if errors.Is(fexitErr, errNotPinned) {
		return nil, fexitErr
	}
	// What refuses one refuses the other, but for a fault that only fexit has.
	w, fentryErr := h.watchHooks(ModeFentry, shapes, p, options)
	if errors.Is(fentryErr, errNotPinned) {
		return nil, fentryErr
	}
	if fentryErr == nil {
		w.reason = joinReasons(fmt.Sprintf("capture by fexit: %v", fexitErr), w.reason)
		return w, nil
	}
	if fexitErr.Error() == fentryErr.Error() {
		return h.watchByScan(fmt.Sprintf("capture by fexit and fentry: %v", fexitErr), p)
	}
	return h.watchByScan(fmt.Sprintf("capture by fexit: %v; by fentry: %v", fexitErr, fentryErr), p)
}

// watchByScan is watch without hooks. It pins nothing, and ends what an earlier
// watch pinned: nobody would read it any more.
func (h *Host) watchByScan(reason string, p *pins) (Watch, error) {
	if p != nil {
		if err := p.remove(""); err != nil {
			return nil, err
		}
		reason = joinReasons(reason, "a scan has nothing to pin, so changes while no agent runs are found late")
	}
	return newScanWatch(h.Now, reason), nil
}

// watchHooks is watch with trampolines.
func (h *Host) watchHooks(mode Mode, shapes []Shape, p *pins, options Options) (*hookWatch, error) {
	test := uint32(len(shapes)) // the self-test's slot comes after the maps'
	plan, err := planCapture(mode, append(shapes[:test:test], selfTestShape()), options.RingBytes, p != nil)
	if err != nil {
		return nil, err
	}
	var set string
	if p != nil {
		set = plan.setName(h.Boot())
		if w, err := h.takeOver(plan, set, p, options); err == nil {
			return w, nil
		}
		// What cannot be taken over is replaced, which asks for a rescan of
		// every map and so tells what there is to tell.
	}
	c, err := plan.open()
	if err != nil {
		return nil, err
	}
	if err := h.begin(c, shapes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if p != nil {
		if err := p.pin(c, set); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return startHookWatch(h, c, shapes, p, options), nil
}

// begin proves that c works, and makes it watch maps of these shapes.
func (h *Host) begin(c *capture, shapes []Shape) (err error) {
	if err := c.selfTest(uint32(len(shapes)), h.onApplyThread); err != nil {
		return err
	}
	if c.firstMisses, err = c.readMisses(); err != nil {
		return err
	}
	for slot, shape := range shapes {
		if err := c.watch(shape.ID, uint32(slot)); err != nil {
			return err
		}
	}
	if c.ledger != nil {
		c.ledger.set(ledgerFirstMisses, c.firstMisses)
		c.ledger.set(ledgerMisses, c.firstMisses)
	}
	return nil
}

// takeOver goes on where an earlier watch of the same plan stopped.
func (h *Host) takeOver(plan *capturePlan, set string, p *pins, options Options) (*hookWatch, error) {
	if !p.has(set) {
		return nil, fmt.Errorf("take over the pinned capture %s: %w", set, ErrNotFound)
	}
	c, err := plan.takeOver(p, set)
	if err != nil {
		return nil, err
	}
	shapes := plan.shapes[:len(plan.shapes)-1]
	if err := c.selfTestTaken(uint32(len(shapes)), h.onApplyThread); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := p.remove(set); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.firstMisses = c.ledger.get(ledgerFirstMisses)
	return startHookWatch(h, c, shapes, p, options), nil
}

func (h *Host) watchShapes(maps []Map) ([]Shape, error) {
	shapes := make([]Shape, 0, len(maps))
	seen := make(map[uint32]string, len(maps))
	for _, m := range maps {
		shape := m.Shape()
		if own, ok := m.(*hostMap); !ok || own.host != h {
			return nil, fmt.Errorf("watch map %s: it was not opened by this host; open it with Host.Open", shape.Target)
		}
		if first, twice := seen[shape.ID]; twice {
			return nil, fmt.Errorf("watch map %s: it is the kernel's map %d, and so is %s; name it once", shape.Target, shape.ID, first)
		}
		seen[shape.ID] = shape.Target
		shapes = append(shapes, shape)
	}
	return shapes, nil
}

// withDefaults fills in the zero fields and reports all faults at once.
func (o Options) withDefaults() (Options, error) {
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	if o.RingBytes == 0 {
		o.RingBytes = max(defaultRingBytes, os.Getpagesize())
	}
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	var errs []error
	switch o.Mode {
	case ModeAuto, ModeFexit, ModeFentry, ModeScan:
	default:
		errs = append(errs, fmt.Errorf("watch maps: capture mode %q: want auto, fexit, fentry or scan", o.Mode))
	}
	// The kernel refuses rings above UINT_MAX/4 bytes.
	if o.RingBytes < os.Getpagesize() || bits.OnesCount(uint(o.RingBytes)) != 1 || o.RingBytes > 1<<29 {
		errs = append(errs, fmt.Errorf("watch maps: ring of %d bytes: want a power of two from %d to %d", o.RingBytes, os.Getpagesize(), 1<<29))
	}
	if o.Poll < 0 {
		errs = append(errs, fmt.Errorf("watch maps: poll interval %v: want more than zero", o.Poll))
	}
	if o.Queue < 0 {
		errs = append(errs, fmt.Errorf("watch maps: queue of %d batches: want more than zero", o.Queue))
	}
	return o, errors.Join(errs...)
}

// joinReasons joins those that are not empty.
func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(r string) bool { return r == "" }), "; ")
}
