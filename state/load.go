package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/mapgossip/mapgossip/crdt"
)

// loader reads a directory.
type loader struct {
	fs    FS
	id    Identity
	log   *slog.Logger
	saved *Saved
}

// segment is one journal of the chain that is read.
type segment struct {
	generation uint64
	data       []byte
	length     int // that the journal after it counts on; of the last one: all there is
}

// load fills l.saved from the newest complete snapshot and the journals that
// follow it, and returns these journals, oldest first, not open, with the sizes
// that count. An error that wraps errDamaged says that what is there must not be
// believed; any other one, that it cannot be read.
func (l *loader) load() ([]*journal, error) {
	names, err := l.fs.List()
	if err != nil {
		return nil, fmt.Errorf("list state directory: %w", err)
	}
	journals, snapshots := generations(names, journalSuffix), generations(names, snapshotSuffix)
	for len(journals) > 0 {
		newest := journals[len(journals)-1]
		chain, err := l.chain(newest, snapshots)
		if cut := (tornHeader{}); errors.As(err, &cut) {
			// A journal that has no whole header was never flushed, or lost all in
			// a power cut, and then nothing that was written after it counts.
			l.log.Warn("dropped a journal without content", "file", journalName(cut.generation))
			end, _ := slices.BinarySearch(journals, cut.generation)
			journals = journals[:end]
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(snapshots) > 0 && snapshots[len(snapshots)-1] > newest {
			break
		}
		return l.replay(chain)
	}
	if len(snapshots) > 0 {
		return nil, fmt.Errorf("read %s: the journal of its generation is missing: %w", snapshotName(snapshots[len(snapshots)-1]), errDamaged)
	}
	return nil, nil
}

// tornHeader is the error for a journal that ends before its header does.
type tornHeader struct{ generation uint64 }

func (e tornHeader) Error() string {
	return fmt.Sprintf("read %s: the header is cut short", journalName(e.generation))
}

// chain returns the journals from a snapshot, or from nothing, up to the newest
// one, oldest first, and merges the snapshot.
func (l *loader) chain(newest uint64, snapshots []uint64) (chain []segment, err error) {
	var badSnapshot error
	at, length := newest, -1
	for {
		name := journalName(at)
		data, err := l.fs.ReadFile(name)
		if err != nil {
			if removed(err) == nil {
				err = errors.Join(badSnapshot, fmt.Errorf("file is missing: %w", errDamaged))
			}
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		payload, _, ok := cutFrame(data)
		if !ok && torn(data) {
			return nil, tornHeader{at}
		}
		if !ok {
			return nil, fmt.Errorf("read %s: the header is not what was written: %w", name, errDamaged)
		}
		h, err := parseHeader(payload)
		if err == nil {
			err = h.check(fileJournal, at, l.id)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if length < 0 {
			length = len(data)
		}
		chain = append(chain, segment{at, data, length})

		if slices.Contains(snapshots, at) {
			err := l.snapshot(at)
			if err == nil {
				break
			}
			if !errors.Is(err, errDamaged) {
				return nil, err
			}
			badSnapshot = err
			*l.saved = *newSaved()
		}
		if h.from == fromNothing {
			break
		}
		if h.from == fromSnapshot {
			return nil, errors.Join(badSnapshot, fmt.Errorf("read %s: there is no snapshot that it follows: %w", name, errDamaged))
		}
		at, length = h.previous, int(min(h.length, 1<<40))
	}
	if badSnapshot != nil {
		l.log.Error("a snapshot is damaged: used the older generation", "error", badSnapshot)
	}
	slices.Reverse(chain)
	return chain, nil
}

// snapshot merges one snapshot; if the error is not nil, in part.
func (l *loader) snapshot(generation uint64) error {
	name := snapshotName(generation)
	data, err := l.fs.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	end, complete, err := l.frames(data, fileSnapshot, generation)
	if err == nil && (end < len(data) || !complete) {
		err = fmt.Errorf("offset %d: the end is missing: %w", end, errDamaged)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	l.saved.settle()
	return nil
}

// replay merges journals, the oldest first, and returns those that count.
func (l *loader) replay(chain []segment) (journals []*journal, err error) {
	for i, s := range chain {
		end, _, err := l.frames(s.data[:min(s.length, len(s.data))], fileJournal, s.generation)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", journalName(s.generation), err)
		}
		journals = append(journals, &journal{generation: s.generation, size: int64(end)})
		if end < s.length {
			l.log.Warn("dropped the torn end of the journal: the last changes before the power cut are lost", "file", journalName(s.generation),
				"offset", end, "bytes", len(s.data)-end, "later_journals", len(chain)-1-i)
			break
		}
	}
	return journals, nil
}

// frames merges the frames of one file. end is how many bytes were good, less
// than there are if the rest is torn; complete, whether a footer was the last
// frame and told the number of entries. The error wraps errDamaged.
func (l *loader) frames(data []byte, file byte, generation uint64) (end int, complete bool, err error) {
	index := len(l.saved.files)
	l.saved.files = append(l.saved.files, data)
	var names []string
	var entries uint64
	for end < len(data) {
		payload, rest, ok := cutFrame(data[end:])
		if !ok {
			if torn(data[end:]) {
				return end, false, nil
			}
			return end, false, fmt.Errorf("offset %d: what was written is not there: %w", end, errDamaged)
		}
		start := end + frameHead
		kind, body := payload[0], payload[1:]
		var bad error
		switch {
		case (kind == kindHeader) != (end == 0), complete:
			bad = errors.New("frame out of place")
		case kind == kindHeader:
			var h header
			if h, bad = parseHeader(payload); bad == nil {
				bad = h.check(file, generation, l.id)
			}
		case kind == kindName:
			names = append(names, string(body))
		case kind == kindEntry || kind == kindWaiting:
			entries++
			number, n := binary.Uvarint(body)
			if n <= 0 || number >= uint64(len(names)) {
				bad = errors.New("entry of a map without a name")
				break
			}
			e, more, err := crdt.ParseEntry(body[n:])
			if err != nil || len(more) > 0 {
				bad = errors.Join(err, errors.New("not an entry"))
				break
			}
			p := placeOf(index, start+1+n)
			if kind == kindWaiting {
				p |= flagWaiting
			}
			l.saved.add(names[number], e, p, file == fileJournal)
		case kind == kindSettled:
			l.saved.settle()
		case kind == kindMeta:
			l.saved.Meta = body
		case kind == kindFooter && file == fileSnapshot:
			complete = len(body) == 8 && binary.LittleEndian.Uint64(body) == entries
			if !complete {
				bad = errors.New("entries are missing")
			}
		default:
			bad = fmt.Errorf("unknown frame %q", kind)
		}
		if bad != nil {
			if !errors.Is(bad, errDamaged) {
				bad = fmt.Errorf("%w: %w", bad, errDamaged)
			}
			return end, false, fmt.Errorf("offset %d: %w", end, bad)
		}
		end = len(data) - len(rest)
	}
	return end, complete, nil
}
