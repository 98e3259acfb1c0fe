package ether

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"net"
	"time"
)

// queueFrames bounds what waits for one port; the newest is lost when full.
const queueFrames = 8192

// Counters of one port, in frames since it was attached.
type Counters struct {
	In         uint64 // came from the host
	Out        uint64 // went to the host
	Lost       uint64 // to the host, lost by a Link
	Overflowed uint64 // to the host, lost because its queue was full
}

// Port is one host's place at a switch.
type Port struct {
	owner *Switch
	conn  net.Conn
	wake  chan struct{} // capacity 1: the queue has something sooner
	gone  chan struct{} // closed with closed

	// Guarded by owner.mu.
	closed   bool
	queue    queue
	counters Counters
}

// Close detaches the port from its switch and closes its stream. Idempotent.
func (p *Port) Close() {
	p.owner.detach(p)
	_ = p.conn.Close()
}

// Gone is closed when the port is detached, by Close or because its stream ended.
func (p *Port) Gone() <-chan struct{} { return p.gone }

// Counters returns a copy.
func (p *Port) Counters() Counters {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	return p.counters
}

func (p *Port) read() {
	defer p.Close()
	r := bufio.NewReaderSize(p.conn, 256<<10)
	b := make([]byte, MaxFrameBytes)
	for {
		n, err := ReadFrame(r, b)
		if err != nil {
			return
		}
		if n >= minFrameBytes {
			p.owner.forward(p, bytes.Clone(b[:n]))
		}
	}
}

func (p *Port) write() {
	defer p.Close()
	w := bufio.NewWriterSize(p.conn, 64<<10)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		frame, wait := p.pop()
		if frame != nil {
			var length [LengthBytes]byte
			binary.BigEndian.PutUint32(length[:], uint32(len(frame)))
			_, _ = w.Write(length[:]) // the error stays in w
			if _, err := w.Write(frame); err != nil {
				return
			}
			continue
		}
		if err := w.Flush(); err != nil {
			return
		}
		var later <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			later = timer.C
		}
		select {
		case <-p.wake:
		case <-later:
		case <-p.gone:
			return
		}
	}
}

// pop returns the next frame that is due, or how long to wait for it; 0 and nil when
// the queue is empty.
func (p *Port) pop() ([]byte, time.Duration) {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	for len(p.queue) > 0 {
		q := p.queue[0]
		if !q.due.IsZero() {
			if wait := time.Until(q.due); wait > 0 {
				return nil, wait
			}
		}
		heap.Pop(&p.queue)
		if p.owner.links[direction{q.from, p}].Cut {
			p.counters.Lost++
			continue
		}
		p.counters.Out++
		return q.frame, 0
	}
	return nil, 0
}

func (p *Port) pushLocked(q queued) {
	if len(p.queue) >= queueFrames {
		p.counters.Overflowed++
		return
	}
	heap.Push(&p.queue, q)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// queued is a frame on its way. The bytes may be in the queues of several ports.
type queued struct {
	due   time.Time // zero: at once
	order uint64
	from  *Port
	frame []byte
}

// queue is a heap by due time, then by order of arrival.
type queue []queued

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(queued)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = queued{}
	*q = old[:len(old)-1]
	return last
}
