package state

import (
	"errors"
	"fmt"

	"github.com/mapgossip/mapgossip/crdt"
)

// Snapshot is a snapshot under way. Its methods are for one goroutine, which may
// be another one than that which appends to the Dir. It must end with Commit or
// Abort.
type Snapshot struct {
	dir     *Dir
	journal *journal // of the same generation
	file    File
	out     writer
	entries uint64
	size    int64
	err     error // the first one
}

// Begin starts a journal, where all goes that is appended from then on, and a
// snapshot of the same generation. The caller then adds to it an entry of each
// key that was appended before Begin; keys that change meanwhile may be added
// with the entry of any time from Begin to Commit. The latest Meta is carried over.
//
// An error leaves the Dir as it was, unless it says that the Dir is broken. There
// is one snapshot at a time.
func (d *Dir) Begin() (*Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("begin snapshot: state directory is closed")
	}
	if d.snapshot != nil {
		return nil, errors.New("begin snapshot: one is under way: commit or abort it first")
	}
	d.writeLocked()
	// Without a journal nothing is kept, so what follows is nothing without the snapshot.
	if err := d.rotateLocked(fromSnapshot); err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	s := &Snapshot{dir: d, journal: d.journals[len(d.journals)-1], out: writer{names: map[string]uint64{}}}
	d.snapshot = s
	var err error
	if s.file, err = d.fs.Create(s.temporary()); err != nil {
		s.endLocked()
		return nil, fmt.Errorf("begin snapshot: create %s: %w", s.temporary(), err)
	}
	s.out.header(header{file: fileSnapshot, generation: s.journal.generation, id: d.id})
	return s, nil
}

func (s *Snapshot) name() string      { return snapshotName(s.journal.generation) }
func (s *Snapshot) temporary() string { return s.name() + temporarySuffix }

// Add writes an entry down. waiting says that the kernel does not hold it. It
// keeps nothing of e. Commit tells what went wrong; after that, Add does nothing.
func (s *Snapshot) Add(mapName string, e crdt.Entry, waiting bool) {
	if s.err != nil {
		return
	}
	s.entries++
	s.out.entry(mapName, e, waiting)
	if len(s.out.bytes) >= flushBytes {
		s.write()
	}
}

func (s *Snapshot) write() {
	n, err := s.file.Write(s.out.bytes)
	s.size += int64(n)
	s.out.bytes = s.out.bytes[:0]
	if err != nil {
		s.err = fmt.Errorf("write %s: %w", s.temporary(), err)
	}
}

// Commit makes the snapshot and all that was appended survive a power cut, and
// removes older generations. It takes as long as the disk does. If the Dir was
// broken before Begin it is whole after Commit. After an error, the Dir goes on
// with what it had, or stays broken if it was; if it is the journal that failed,
// the Dir is broken, and Flush does not tell that again.
func (s *Snapshot) Commit() error {
	if err := s.commit(); err != nil {
		s.Abort()
		return fmt.Errorf("commit snapshot: %w", err)
	}
	if err := removeBefore(s.dir.fs, s.journal.generation); err != nil {
		s.dir.log.Warn("remove an older generation of the state", "error", err)
	}
	return nil
}

var errAbandoned = errors.New("the state directory was closed, or its journal broke, meanwhile")

func (s *Snapshot) commit() error {
	s.out.footer(s.entries)
	if s.err == nil {
		s.write()
	}
	if s.err != nil {
		return s.err
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.temporary(), err)
	}
	// What was added may be newer than what is flushed: the journal must not lack
	// what came before that.
	if err := s.dir.Flush(); err != nil {
		return err
	}
	if err := s.dir.Sync(); err != nil {
		return err
	}
	d := s.dir
	d.mu.Lock()
	err := errAbandoned
	if s.currentLocked() {
		err = d.fs.Rename(s.temporary(), s.name())
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.fs.SyncDir(); err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.currentLocked() {
		return errAbandoned
	}
	d.broken, d.unreported = nil, nil
	d.snapshotBytes, d.journalBytes = s.size, s.journal.size
	s.file.Close()
	d.snapshot = nil
	return nil
}

// currentLocked reports whether the journal of the snapshot's generation is
// still being written, so that both together are the state.
func (s *Snapshot) currentLocked() bool {
	d := s.dir
	return d.snapshot == s && len(d.journals) > 0 && d.journals[len(d.journals)-1] == s.journal
}

// Abort ends the snapshot. What is appended goes on as before it; if the Dir was
// broken it stays so. After Commit it does nothing.
func (s *Snapshot) Abort() {
	s.dir.mu.Lock()
	defer s.dir.mu.Unlock()
	s.endLocked()
}

func (s *Snapshot) endLocked() {
	d := s.dir
	if d.snapshot != s {
		return
	}
	d.snapshot = nil
	if s.file != nil {
		s.file.Close()
	}
	if err := removed(d.fs.Remove(s.temporary())); err != nil {
		d.log.Warn("remove an unfinished snapshot", "file", s.temporary(), "error", err)
	}
	// A journal that began after the Dir broke is nothing without its snapshot.
	if d.broken != nil {
		if err := d.dropLocked(); err != nil {
			d.log.Warn("remove an unfinished journal", "error", err)
		}
	}
}
