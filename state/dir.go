package state

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// dueBytes is how large journals may grow in any case.
	dueBytes = 16 << 20
	// flushBytes is what is gathered in memory at most between two writes.
	flushBytes = 256 << 10
)

// Dir is a state directory that is open and locked. All methods are safe for
// concurrent use; Append, Meta, Flush and Begin are meant for one goroutine,
// the owner of the entries.
type Dir struct {
	fs     FS
	id     Identity
	log    *slog.Logger
	unlock func() error

	// syncing is held by the one Sync that is under way, and taken before mu.
	syncing sync.Mutex

	mu       sync.Mutex
	out      writer     // what is not written yet, for the current journal
	journals []*journal // not all synced, oldest first; the last one is current; none if nothing is written
	meta     []byte     // the latest blob
	next     uint64     // generation of the next journal
	snapshot *Snapshot  // under way

	journalBytes  int64 // flushed since the snapshot
	snapshotBytes int64 // 0: none since Open, or since Dir is broken
	broken        error // why what is in the directory is not the state
	unreported    error // broken, until Flush has told
	closed        bool
}

// Open locks the directory and reads what it holds. The Dir writes to a new
// journal from the start; nobody else may use its fs until Close.
//
// A torn end of the journal, from a power cut, is dropped and logged at Warn.
// If the files are damaged, of another format version, or of another identity,
// one line at Error says so, they are renamed to *.bad, in place of older ones of
// that name, and Saved is empty, as it is for an empty directory. If nothing can
// be written, the Dir is Broken from the start, which is logged at Error. The
// error wraps ErrLocked if another agent uses the directory; else the directory
// or a file in it cannot be read.
func Open(fs FS, id Identity, log *slog.Logger) (*Dir, *Saved, error) {
	unlock, err := fs.Lock()
	if err != nil {
		return nil, nil, fmt.Errorf("open state: %w", err)
	}
	d := &Dir{fs: fs, id: id, log: log, unlock: unlock}
	l := loader{fs: fs, id: id, log: log, saved: newSaved()}
	d.journals, err = l.load()
	switch {
	case errors.Is(err, errDamaged):
		if aside := setAside(fs); aside != nil {
			err = fmt.Errorf("%w; rename: %w", err, aside)
		}
		log.Error("started without the saved state: its files are put aside as *"+badSuffix+"; look why, then remove them", "error", err)
		l.saved = newSaved()
	case err != nil:
		unlock()
		return nil, nil, fmt.Errorf("open state: %w", err)
	}
	names, err := fs.List()
	if err != nil {
		unlock()
		return nil, nil, fmt.Errorf("open state: list state directory: %w", err)
	}
	for _, name := range names {
		base := strings.TrimSuffix(strings.TrimSuffix(name, badSuffix), temporarySuffix)
		for _, suffix := range []string{journalSuffix, snapshotSuffix} {
			if n, ok := generation(base, suffix); ok {
				d.next = max(d.next, n)
			}
		}
		if strings.HasSuffix(name, temporarySuffix) {
			if err := removed(fs.Remove(name)); err != nil {
				log.Warn("remove an unfinished snapshot", "file", name, "error", err)
			}
		}
	}
	d.next++
	d.meta = slices.Clone(l.saved.Meta)
	for _, j := range d.journals {
		// The process that wrote it may have had no time to sync it.
		if j.file, err = fs.Append(journalName(j.generation)); err != nil {
			for _, j := range d.journals {
				if j.file != nil {
					j.file.Close()
				}
			}
			unlock()
			return nil, nil, fmt.Errorf("open state: %w", err)
		}
	}
	if err := d.rotateLocked(fromNothing); err != nil {
		if d.broken == nil {
			d.breakLocked(err)
		}
		log.Error("state is not kept", "error", d.broken)
		d.unreported = nil
	}
	return d, l.saved, nil
}

// Append writes down an entry that was merged, in memory until Flush. waiting
// says that the kernel does not hold it. It keeps nothing of e, which must be one
// that crdt.ParseEntry takes: any other one makes the directory unreadable.
func (d *Dir) Append(mapName string, e crdt.Entry, waiting bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.journals) == 0 {
		return
	}
	d.out.entry(mapName, e, waiting)
	d.writeSomeLocked()
}

// Settled writes down, in memory until Flush, that the kernel holds all that was
// appended so far, but for what waits: no apply of it is under way.
func (d *Dir) Settled() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.journals) > 0 {
		d.out.settled()
	}
}

// Meta writes down the caller's blob, in memory until Flush; the latest one is
// what Saved.Meta is. It keeps nothing of b.
func (d *Dir) Meta(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = append(d.meta[:0], b...)
	if len(d.journals) == 0 {
		return
	}
	d.out.meta(b)
	d.writeSomeLocked()
}

// writeSomeLocked bounds what is gathered in memory; Flush tells the error.
func (d *Dir) writeSomeLocked() {
	if len(d.out.bytes) >= flushBytes {
		d.writeLocked()
	}
}

// Flush gives all that was appended to the operating system: it survives the
// end of this process from then on, but not a power cut before the next Sync.
// Call it before the kernel map is written.
//
// When a write fails the Dir is Broken, and Flush returns that error, once.
// While broken it does nothing and returns nil.
func (d *Dir) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writeLocked()
	err := d.unreported
	d.unreported = nil
	return err
}

func (d *Dir) writeLocked() {
	if len(d.journals) == 0 || len(d.out.bytes) == 0 {
		return
	}
	j := d.journals[len(d.journals)-1]
	n, err := j.file.Write(d.out.bytes)
	d.out.bytes = d.out.bytes[:0]
	if err != nil {
		d.breakLocked(fmt.Errorf("write %s: %w", journalName(j.generation), err))
		return
	}
	j.size += int64(n)
	d.journalBytes += int64(n)
}

// Due reports whether it is time for a snapshot: there is none since Open, the
// journals have grown larger than 16 MiB and twice the last one, or the Dir is
// broken, which a snapshot heals. The caller decides how often to try; while one
// is under way, none is due.
func (d *Dir) Due() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.snapshot != nil {
		return false
	}
	return d.broken != nil || d.snapshotBytes == 0 || d.journalBytes > max(dueBytes, 2*d.snapshotBytes)
}

// Broken returns why nothing is kept, nil if all is well. It becomes nil when a
// snapshot is committed.
func (d *Dir) Broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

// Close flushes, syncs and gives up the lock; a snapshot under way is aborted.
// It waits for a Sync that is under way. It is idempotent.
func (d *Dir) Close() error {
	errs := []error{d.Flush(), d.Sync()}
	d.syncing.Lock()
	defer d.syncing.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if d.snapshot != nil {
		d.snapshot.endLocked()
	}
	d.closed = true
	for _, j := range d.journals {
		errs = append(errs, j.file.Close())
	}
	d.journals = nil
	errs = append(errs, d.unlock())
	return errors.Join(errs...)
}
