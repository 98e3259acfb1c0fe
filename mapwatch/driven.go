//go:build linux

package mapwatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

const (
	driveRun        = 256  // DRIVE_RUN in bpf/drive.bpf.c: writes a run of the program
	driveKeyBytes   = 64   // DRIVE_KEY_BYTES
	driveValueBytes = 1024 // DRIVE_VALUE_BYTES

	drivePacket = 64 // bytes of a least Ethernet frame

	// drivePause is how long a write waits for room in the ring.
	drivePause = 200 * time.Microsecond
)

// Driven is a Host that needs no trampolines, for benchmarks and for tests on
// hosts that refuse them: a BPF program of its own (bpf/drive.bpf.c) writes the
// watched map, when Write asks for it, and then runs the code that the
// trampoline would have run. Ring, records, counters and all that follows are
// those of ModeFexit. What others write to the map is not captured.
//
// Since Linux 6.16. Safe for concurrent use.
type Driven struct {
	*Host

	mu      sync.Mutex // held during a Write
	capture *capture   // nil before Watch and Ring
	watch   *hookWatch // whose capture it is; nil after Ring
	next    uint64     // the number of the next write
}

var _ Kernel = (*Driven)(nil)

// OpenDriven is OpenHost for a Driven.
func OpenDriven() (*Driven, error) {
	h, err := OpenHost()
	if err != nil {
		return nil, err
	}
	return &Driven{Host: h}, nil
}

// Watch implements Kernel, once and for one map, with keys of 8 to 64 bytes and
// values of 8 to 1024. Options.Mode is ModeAuto or ModeFexit.
func (d *Driven) Watch(maps []Map, options Options) (Watch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	shapes, err := d.watchShapes(maps)
	if err != nil {
		return nil, err
	}
	if options.Pins != "" {
		return nil, fmt.Errorf("watch maps: a driven host pins nothing: %w", ErrUnsupported)
	}
	if d.capture != nil || len(maps) != 1 || options.Mode == ModeFentry || options.Mode == ModeScan {
		return nil, fmt.Errorf("watch maps: a driven host watches one map, once, with capture mode auto or fexit: %w", ErrUnsupported)
	}
	c, err := openDrivenCapture(maps[0].(*hostMap), options.RingBytes)
	if err != nil {
		return nil, fmt.Errorf("drive map %s: %w", shapes[0].Target, err)
	}
	d.watch = startHookWatch(d.Host, c, &capturePlan{shapes: append(shapes, selfTestShape())}, nil, options)
	d.watch.plan = nil // nothing takes the map's place
	d.watch.reason = "a program of this process tells of its own writes, and of no others"
	d.capture = c
	return d.watch, nil
}

// Ring is Watch for a caller that reads the raw records itself: a yardstick for
// Watch. In a record, 40 bytes of head come before the key and the value. The
// reader must be read while Write runs; Close closes it.
func (d *Driven) Ring(m Map, ringBytes int) (*ringbuf.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	shapes, err := d.watchShapes([]Map{m})
	if err != nil {
		return nil, err
	}
	if d.capture != nil {
		return nil, fmt.Errorf("drive map %s: a driven host watches one map, once: %w", shapes[0].Target, ErrUnsupported)
	}
	if d.capture, err = openDrivenCapture(m.(*hostMap), ringBytes); err != nil {
		return nil, fmt.Errorf("drive map %s: %w", shapes[0].Target, err)
	}
	return d.capture.reader, nil
}

// Close is Host.Close, and ends what Ring began.
func (d *Driven) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.capture != nil && d.watch == nil {
		err = d.capture.Close()
	}
	d.capture, d.watch = nil, nil
	return errors.Join(err, d.Host.Close())
}

// openDrivenCapture loads the program that drives m, with m as slot 0.
func openDrivenCapture(m *hostMap, ringBytes int) (*capture, error) {
	shape := m.shape
	if shape.KeyBytes < 8 || shape.KeyBytes > driveKeyBytes || shape.ValueBytes < 8 || shape.ValueBytes > driveValueBytes {
		return nil, fmt.Errorf("%w: it has keys of %d and values of %d bytes, the program writes 8 to %d and 8 to %d",
			ErrUnsupported, shape.KeyBytes, shape.ValueBytes, driveKeyBytes, driveValueBytes)
	}
	spec, err := loadDrive()
	if err != nil {
		return nil, fmt.Errorf("read the driven capture object: %w", err)
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{driveProgDrive: spec.Programs[driveProgDrive]}
	if err := setVariable(spec, driveVarDriveValueBytes, uint32(shape.ValueBytes)); err != nil {
		return nil, err
	}
	target := spec.Maps[driveMapDriven]
	target.KeySize, target.ValueSize, target.MaxEntries = uint32(shape.KeyBytes), uint32(shape.ValueBytes), uint32(shape.MaxEntries)
	target.Flags = m.m.Flags()
	c := &capture{mode: ModeFexit}
	options := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{driveMapDriven: m.m}}
	if err := c.load(spec, noKsyms(), options, []Shape{shape}, ringBytes); err != nil {
		return nil, err
	}
	if err := errors.Join(c.watch(shape.ID, 0), c.setReaderIdle(true)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Write makes n writes in the kernel and puts a record of each in the ring. The
// first of all writes has number 0; write number i has the key i modulo keys in
// its first 8 bytes, native byte order, and zeros behind, and as its value i in each 8
// bytes. It waits while the ring is half full, so that no record is dropped.
// After an error or the end of ctx fewer were made: see Written.
func (d *Driven) Write(ctx context.Context, n, keys uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for stop := d.next + n; d.next < stop; {
		waits, err := d.waitingLocked()
		if err != nil {
			return err
		}
		if waits > d.capture.reader.BufferSize()/2 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(drivePause):
			}
			continue
		}
		if err := d.writeLocked(min(stop-d.next, driveRun), keys); err != nil {
			return err
		}
	}
	return nil
}

// Written is how many writes were made: the number of the next one.
func (d *Driven) Written() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next
}

// waitingLocked is how many bytes of records the reader has not read.
func (d *Driven) waitingLocked() (int, error) {
	if d.capture == nil {
		return 0, fmt.Errorf("drive a map: %w: none is watched; call Watch first", ErrGone)
	}
	if w := d.watch; w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.closed {
			return 0, fmt.Errorf("drive a map: %w: its watch was closed", ErrGone)
		}
	}
	return d.capture.reader.AvailableBytes(), nil
}

// writeLocked makes at most driveRun writes, whether the ring has room or not.
func (d *Driven) writeLocked(n, keys uint64) error {
	variables := d.capture.collection.Variables
	err := errors.Join(variables[driveVarDriveKeys].Set(keys), variables[driveVarDriveStop].Set(d.next+n))
	if err != nil {
		return fmt.Errorf("drive a map: %w", err)
	}
	// The program does not look at the packet, but the kernel wants one.
	if _, err = d.capture.collection.Programs[driveProgDrive].Run(&ebpf.RunOptions{Data: make([]byte, drivePacket)}); err == nil {
		err = variables[driveVarDriveNext].Get(&d.next)
	}
	if err != nil {
		return fmt.Errorf("drive a map: run the program: %w", err)
	}
	return nil
}
