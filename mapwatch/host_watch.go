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
	switch options.Mode {
	case ModeScan:
		return newScanWatch(h.Now, "capture mode scan was asked for"), nil
	case ModeFexit, ModeFentry:
		w, err := h.watchHooks(options.Mode, shapes, options)
		if err != nil {
			return nil, fmt.Errorf("capture by %s: %w", options.Mode, err)
		}
		if options.Mode == ModeFentry {
			w.reason = joinReasons("capture mode fentry was asked for", w.reason)
		}
		return w, nil
	}

	w, fexitErr := h.watchHooks(ModeFexit, shapes, options)
	if fexitErr == nil {
		return w, nil
	}
	// What refuses one refuses the other, but for a fault that only fexit has.
	w, fentryErr := h.watchHooks(ModeFentry, shapes, options)
	if fentryErr == nil {
		w.reason = joinReasons(fmt.Sprintf("capture by fexit: %v", fexitErr), w.reason)
		return w, nil
	}
	if fexitErr.Error() == fentryErr.Error() {
		return newScanWatch(h.Now, fmt.Sprintf("capture by fexit and fentry: %v", fexitErr)), nil
	}
	return newScanWatch(h.Now, fmt.Sprintf("capture by fexit: %v; by fentry: %v", fexitErr, fentryErr)), nil
}

// watchHooks is Watch with trampolines.
func (h *Host) watchHooks(mode Mode, shapes []Shape, options Options) (*hookWatch, error) {
	test := uint32(len(shapes)) // the self-test's slot comes after the maps'
	c, err := openCapture(mode, append(shapes[:len(shapes):len(shapes)], selfTestShape()), options.RingBytes)
	if err != nil {
		return nil, err
	}
	if err := c.selfTest(test, h.onApplyThread); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	misses, err := c.readMisses()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for slot, shape := range shapes {
		if err := c.watch(shape.ID, uint32(slot)); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return startHookWatch(c, h.Now, shapes, misses, options), nil
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
