package state

import (
	"fmt"
	"slices"
)

// journal is a file that is being written. Dir.mu guards it.
type journal struct {
	generation uint64
	file       File
	size       int64 // what is written
	synced     int64
}

// rotateLocked makes a new journal current. It goes on from the current one; if
// there is none, from says from what. An error means that all is as before, or
// that d.broken is set.
func (d *Dir) rotateLocked(from byte) error {
	name := journalName(d.next)
	h := header{file: fileJournal, generation: d.next, from: from, id: d.id}
	if len(d.journals) > 0 {
		j := d.journals[len(d.journals)-1]
		h.from, h.previous, h.length = fromJournal, j.generation, uint64(j.size)
	}
	d.next++
	file, err := d.fs.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	w := writer{names: map[string]uint64{}}
	w.header(h)
	if d.meta != nil {
		w.meta(d.meta)
	}
	n, err := file.Write(w.bytes)
	if err != nil {
		file.Close()
		if gone := d.fs.Remove(name); gone != nil {
			// It says how much of the current journal counts: nothing may be added there.
			d.breakLocked(fmt.Errorf("write %s: %w; remove it: %w", name, err, gone))
			return d.broken
		}
		return fmt.Errorf("write %s: %w", name, err)
	}
	d.journals = append(d.journals, &journal{generation: h.generation, file: file, size: int64(n)})
	d.journalBytes += int64(n)
	d.out.names = w.names
	return nil
}

// breakLocked gives up what is in the directory: the kernel's map goes on
// changing, so a state that cannot follow must not be found at the next start.
func (d *Dir) breakLocked(err error) {
	d.broken = fmt.Errorf("keep state: %w; make room or repair the disk: until then nothing survives a restart", err)
	if err := d.dropLocked(); err != nil {
		d.broken = fmt.Errorf("%w; what is in the state directory is outdated and cannot be removed (%w): remove it before the next start", d.broken, err)
	}
	d.unreported = d.broken
}

// dropLocked stops writing and removes all generations.
func (d *Dir) dropLocked() error {
	for _, j := range d.journals {
		j.file.Close()
	}
	d.journals, d.out.bytes = nil, d.out.bytes[:0]
	d.journalBytes, d.snapshotBytes = 0, 0
	return removeBefore(d.fs, d.next)
}

// Sync makes what was flushed survive a power cut. It may take as long as the
// disk does; Append and Flush go on meanwhile. An error makes the Dir Broken.
func (d *Dir) Sync() error {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	d.mu.Lock()
	todo := slices.Clone(d.journals)
	sizes := make([]int64, len(todo))
	named := true
	for i, j := range todo {
		sizes[i] = j.size
		named = named && j.synced > 0
	}
	d.mu.Unlock()

	for i, j := range todo {
		if j.synced == sizes[i] { // only Sync writes to it, under syncing
			continue
		}
		if err := j.file.Sync(); err != nil {
			return d.syncFailed(j, fmt.Errorf("sync %s: %w", journalName(j.generation), err))
		}
	}
	if !named {
		if err := d.fs.SyncDir(); err != nil {
			return d.syncFailed(todo[0], fmt.Errorf("sync state directory: %w", err))
		}
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	for i, j := range todo {
		j.synced = sizes[i]
	}
	// All but the current one are done with, unless they are gone already.
	for len(d.journals) > 1 && d.journals[0].synced == d.journals[0].size {
		d.journals[0].file.Close()
		d.journals = d.journals[1:]
	}
	return nil
}

// syncFailed breaks the Dir if the journal is still one of its own.
func (d *Dir) syncFailed(j *journal, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.journals, j) {
		return nil
	}
	d.breakLocked(err)
	d.unreported = nil
	return d.broken
}
