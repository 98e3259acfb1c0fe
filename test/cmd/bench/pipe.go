//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/mapgossip/mapgossip/mapwatch"
)

const (
	pipeRingBytes   = 8 << 20
	pipeBufferBytes = 256 << 10
	recordHeadBytes = 40 // of a ring record, before key and value
)

// PipeWriter is the end of the bare pipe that writes its map.
type PipeWriter struct {
	driven  *mapwatch.Driven
	m       mapwatch.Map
	conn    net.Conn
	reading sync.WaitGroup
	err     error // of reading
}

// PipeWriterArgs say what to write and where to send it.
type PipeWriterArgs struct{ Target, Address string }

// Start connects to a PipeReader and begins to drive the map.
func (w *PipeWriter) Start(args PipeWriterArgs, _ *None) (err error) {
	if w.driven, err = mapwatch.OpenDriven(); err != nil {
		return err
	}
	if w.m, err = w.driven.Open(args.Target); err != nil {
		return err
	}
	ring, err := w.driven.Ring(w.m, pipeRingBytes)
	if err != nil {
		return err
	}
	if w.conn, err = net.Dial("tcp", args.Address); err != nil {
		return err
	}
	w.reading.Go(func() { w.err = copyRecords(w.conn, ring) })
	return nil
}

// copyRecords sends the keys and values of all records until the ring is closed.
func copyRecords(conn net.Conn, ring *ringbuf.Reader) error {
	out := bufio.NewWriterSize(conn, pipeBufferBytes)
	var record ringbuf.Record
	for {
		err := ring.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(record.RawSample[recordHeadBytes:]); err != nil {
			return err
		}
		if record.Remaining == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// Writes are n writes to that many keys in turn.
type Writes struct{ N, Keys uint64 }

// Write makes writes and returns when the first one began.
func (w *PipeWriter) Write(args Writes, began *time.Duration) error {
	*began = now()
	return w.driven.Write(context.Background(), args.N, args.Keys)
}

func (w *PipeWriter) close() error {
	if w.driven == nil {
		return nil
	}
	err := w.driven.Close()
	if w.conn != nil {
		err = errors.Join(err, w.conn.Close())
	}
	w.reading.Wait()
	return errors.Join(err, w.m.Close(), w.err)
}

// PipeReader is the end of the bare pipe that updates a second map.
type PipeReader struct {
	listener net.Listener
	m        *ebpf.Map
	reading  sync.WaitGroup
	err      error // of reading
}

// Start listens for a PipeWriter and returns the address.
func (r *PipeReader) Start(id uint32, address *string) (err error) {
	if r.m, err = ebpf.NewMapFromID(ebpf.MapID(id)); err != nil {
		return err
	}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	*address = r.listener.Addr().String()
	r.reading.Go(func() {
		conn, err := r.listener.Accept()
		if err != nil {
			r.err = err
			return
		}
		defer conn.Close()
		r.err = updateFrom(conn, r.m)
	})
	return nil
}

// updateFrom writes what comes to the map, by batches of what is there.
func updateFrom(conn net.Conn, m *ebpf.Map) error {
	buffer := make([]byte, pipeBufferBytes)
	keys, values := make([]key, 0, batchEntries), make([]value, 0, batchEntries)
	for kept := 0; ; {
		n, err := conn.Read(buffer[kept:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rest := buffer[:kept+n]
		keys, values = keys[:0], values[:0]
		for ; len(rest) >= entryBytes; rest = rest[entryBytes:] {
			keys, values = append(keys, key(rest)), append(values, value(rest[keyBytes:]))
		}
		kept = copy(buffer, rest)
		if len(keys) > 0 {
			if _, err := m.BatchUpdate(keys, values, nil); err != nil {
				return fmt.Errorf("update map: %w", err)
			}
		}
	}
}

func (r *PipeReader) close() error {
	if r.listener == nil {
		return nil
	}
	err := r.listener.Close()
	r.reading.Wait()
	return errors.Join(err, r.m.Close(), r.err)
}
