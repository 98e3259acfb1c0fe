//go:build linux

package mapwatch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A batch call is bounded, so that the copy of its keys and values is: both by
// elements and by bytes. Longer batches are not faster (BenchmarkApply).
const (
	applyOps   = 1024
	applyBytes = 1 << 20
)

// applyBatch is the flat copy of a run of ops that a batch call takes.
type applyBatch struct {
	keys, values []byte
}

// fill copies ops. Where a delete is a write of zeros, each has a value.
func (b *applyBatch) fill(ops []Op, zeros []byte) {
	b.keys, b.values = b.keys[:0], b.values[:0]
	for _, op := range ops {
		b.keys = append(b.keys, op.Key...)
		if op.Delete {
			b.values = append(b.values, zeros...)
		} else {
			b.values = append(b.values, op.Value...)
		}
	}
}

// Apply implements Map. Only neighbours of one kind share a batch, so the map
// goes through the same states as if the ops were written one by one. Applies
// of all maps of one Host wait for each other.
//
// No element of an array can be deleted: there a delete writes zeros, and is an
// update like others.
func (m *hostMap) Apply(ops []Op) {
	if len(ops) == 0 {
		return
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	ran := false
	if !m.closed {
		m.host.onApplyThread(func() {
			ran = true
			m.applyOnThread(ops)
		})
	}
	if !ran {
		for i := range ops {
			ops[i].Err = errClosed(verbOf(ops[i]), m.shape)
		}
	}
}

func (m *hostMap) applyOnThread(ops []Op) {
	for len(ops) > 0 {
		if ops[0].Err = m.checkSizes(ops[0]); ops[0].Err != nil {
			ops = ops[1:]
			continue
		}
		n := m.runLength(ops)
		m.applyRun(ops[:n])
		ops = ops[n:]
	}
}

// runLength is how many of the first ops fit one batch call; at least 1.
func (m *hostMap) runLength(ops []Op) int {
	most := min(len(ops), applyOps, max(1, applyBytes/(m.shape.KeyBytes+m.shape.ValueBytes)))
	n := 1
	for n < most && m.updates(ops[n]) == m.updates(ops[0]) && m.checkSizes(ops[n]) == nil {
		n++
	}
	return n
}

// updates reports whether op is an update to the kernel.
func (m *hostMap) updates(op Op) bool { return !op.Delete || m.shape.Type == TypeArray }

// applyRun writes ops, all updates or all deletes, and sets each Err.
func (m *hostMap) applyRun(ops []Op) {
	if len(ops) == 1 || m.noBatch.Load() {
		m.applySingly(ops)
		return
	}
	b := &m.host.batch
	b.fill(ops, m.zeros)
	keyBytes, valueBytes := m.shape.KeyBytes, m.shape.ValueBytes
	tries := 0
	for done := 0; done < len(ops); {
		keys := b.keys[done*keyBytes:]
		var values []byte
		if m.updates(ops[0]) {
			values = b.values[done*valueBytes:]
		}
		n, err := m.writeBatch(m.m.FD(), keys, values, len(ops)-done, m.lock)
		for i := range ops[done : done+n] {
			ops[done+i].Err = nil
		}
		done += n
		if n > 0 {
			tries = 0
		}
		if err == nil {
			if n == 0 { // Would loop for ever; no kernel does this.
				err = unix.EIO
			} else {
				continue
			}
		}
		switch {
		case transient(err) && tries < busyTries:
			pauseBusy(tries)
			tries++
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, errNotSupp):
			// The kernel knows no batches, or dislikes this one element:
			// the single operation tells which.
			m.applySingly(ops[done : done+1])
			if ops[done].Err == nil {
				m.noBatch.Store(true)
				m.applySingly(ops[done+1:])
				return
			}
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBADF):
			// Not about an element: the rest would fare no better.
			err = m.explain(verbOf(ops[done]), err)
			for i := range ops[done:] {
				ops[done+i].Err = err
			}
			return
		default:
			ops[done].Err = m.outcome(ops[done], err)
		}
		done++
		tries = 0
	}
}

func (m *hostMap) applySingly(ops []Op) {
	for i := range ops {
		op := &ops[i]
		var err error
		for tries := 0; ; tries++ {
			err = m.write(m.m.FD(), m.kernelOp(*op), m.lock)
			if !transient(err) || tries == busyTries {
				break
			}
			pauseBusy(tries)
		}
		op.Err = m.outcome(*op, err)
	}
}

// kernelOp is op as the kernel knows it.
func (m *hostMap) kernelOp(op Op) Op {
	if op.Delete && m.updates(op) {
		op.Delete, op.Value = false, m.zeros
	}
	return op
}

// outcome is the Err of op when the kernel answered err.
func (m *hostMap) outcome(op Op, err error) error {
	if err == nil || op.Delete && errors.Is(err, unix.ENOENT) {
		return nil
	}
	return m.explain(verbOf(op), err)
}

func (m *hostMap) checkSizes(op Op) error {
	s := m.shape
	if len(op.Key) == s.KeyBytes && (op.Delete || len(op.Value) == s.ValueBytes) {
		return nil
	}
	return fmt.Errorf("%s map %s: key has %d bytes and value %d, this map has %d and %d", verbOf(op), s.Target, len(op.Key), len(op.Value), s.KeyBytes, s.ValueBytes)
}

func verbOf(op Op) string {
	if op.Delete {
		return "delete from"
	}
	return "update"
}
