//go:build linux

package mapwatch

import (
	"errors"
	"sync/atomic"
)

// WithoutBatches makes m believe that the kernel has no batch operations to
// write with, as kernels before 5.6.
func WithoutBatches(m Map) { m.(*hostMap).noBatch.Store(true) }

// WithoutTrieBatches makes m believe that the kernel has no batch operations to
// read tries with, as kernels before 5.13.
func WithoutTrieBatches(m Map) { m.(*hostMap).noTrieBatch.Store(true) }

// Descriptor is the file descriptor of an open map.
func Descriptor(m Map) int { return m.(*hostMap).m.FD() }

// WriteUnpaced makes one run of the program, whether the ring has room or not.
func WriteUnpaced(d *Driven, keys uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeLocked(driveRun, keys)
}

// RefuseWrites makes the kernel answer to writes of m with what refuse returns
// for the op, if that is an error, before the real kernel gets it. The count of
// calls that were refused is returned.
func RefuseWrites(m Map, refuse func(key []byte) error) *atomic.Int64 {
	h := m.(*hostMap)
	refused := new(atomic.Int64)
	h.writeBatch = func(fd int, keys, values []byte, n int, flags uint64) (int, error) {
		for i := range n {
			if err := refuse(keys[i*h.shape.KeyBytes:][:h.shape.KeyBytes]); err != nil {
				refused.Add(1)
				if i == 0 {
					return 0, err
				}
				done, realErr := bpfWriteBatch(fd, keys, values, i, flags)
				if realErr != nil {
					err = realErr
				}
				return done, err
			}
		}
		return bpfWriteBatch(fd, keys, values, n, flags)
	}
	h.write = func(fd int, op Op, flags uint64) error {
		if err := refuse(op.Key); err != nil {
			refused.Add(1)
			return err
		}
		return bpfWrite(fd, op, flags)
	}
	return refused
}

// AbandonWatch does to a watch by hooks what kill -9 does to the process: its
// descriptors are closed and that is all.
func AbandonWatch(w Watch) {
	h := w.(*hookWatch)
	h.close.Do(func() {
		close(h.quit)
		h.wake()
		<-h.ended
		h.mu.Lock()
		defer h.mu.Unlock()
		h.closed = true
		h.closeErr = h.capture.Close()
		if h.pins != nil {
			h.closeErr = errors.Join(h.closeErr, h.pins.Close())
		}
	})
}
