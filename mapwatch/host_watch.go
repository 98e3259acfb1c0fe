//go:build linux

package mapwatch

import (
	"cmp"
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
// says in Reason why it only scans, or in Capture which maps it leaves to the scan.
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
		return h.watchByScan("capture mode scan was asked for", shapes, p)
	case ModeFexit, ModeFentry:
		w, err := h.watchHooks(options.Mode, shapes, p, options)
		var refused typesRefused
		if errors.As(err, &refused) {
			err = cmp.Or(refused.of(shapes), err)
		}
		if err != nil {
			return nil, fmt.Errorf("capture by %s: %w", options.Mode, err)
		}
		if options.Mode == ModeFentry {
			w.reason = "capture mode fentry was asked for"
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
		w.reason = fmt.Sprintf("capture by fexit: %v", fexitErr)
		return w, nil
	}
	if fexitErr.Error() == fentryErr.Error() {
		return h.watchByScan(fmt.Sprintf("capture by fexit and fentry: %v", fexitErr), shapes, p)
	}
	return h.watchByScan(fmt.Sprintf("capture by fexit: %v; by fentry: %v", fexitErr, fentryErr), shapes, p)
}

// watchByScan is watch without hooks. It pins nothing, and ends what an earlier
// watch pinned: nobody would read it any more.
func (h *Host) watchByScan(reason string, shapes []Shape, p *pins) (Watch, error) {
	if p != nil {
		if err := p.remove(""); err != nil {
			return nil, err
		}
		reason = joinReasons(reason, "a scan has nothing to pin, so changes while no agent runs are found late")
	}
	return newScanWatch(h.Now, shapes, reason), nil
}

// watchHooks is watch with trampolines. Types that cannot be hooked are left to
// the scan with ModeAuto, and an error otherwise.
func (h *Host) watchHooks(mode Mode, shapes []Shape, p *pins, options Options) (*hookWatch, error) {
	plan, err := planCapture(mode, shapes, options.RingBytes, p != nil)
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
	if err := h.begin(c, shapes, options.Mode); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if p != nil {
		if err := p.pin(c, set); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return startHookWatch(h, c, plan, p, options), nil
}

// begin proves that c works, and makes it watch the maps of these shapes that it
// can hook.
func (h *Host) begin(c *capture, shapes []Shape, asked Mode) (err error) {
	if err := c.selfTest(uint32(len(shapes)), h.onApplyThread); err != nil {
		return err
	}
	if asked != ModeAuto && len(c.refused) > 0 {
		return typesRefused(c.refused)
	}
	if c.firstMisses, err = c.readMisses(); err != nil {
		return err
	}
	for slot, shape := range shapes {
		if c.refused[shape.Type] != nil {
			continue
		}
		if err := c.watch(shape.ID, uint32(slot)); err != nil {
			return err
		}
	}
	if c.ledger != nil {
		for hook, missed := range c.firstMisses {
			c.ledger.set(ledgerFirstMisses+hook, missed)
			c.ledger.set(ledgerMisses+hook, missed)
		}
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
	shapes := plan.watched()
	if options.Mode != ModeAuto && len(c.refused) > 0 {
		return nil, errors.Join(typesRefused(c.refused), c.Close())
	}
	err = c.selfTestTaken(uint32(len(shapes)), h.onApplyThread)
	if err == nil {
		err = p.remove(set)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for hook := range c.firstMisses {
		c.firstMisses[hook] = c.ledger.get(ledgerFirstMisses + hook)
	}
	return startHookWatch(h, c, plan, p, options), nil
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
