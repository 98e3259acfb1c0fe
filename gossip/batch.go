package gossip

import (
	"bytes"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	timestampBytes = 12
	maxOrigins     = 65535
	// bulkBytes is the size at which a stream frame is closed. A single
	// larger entry still makes a frame of its own.
	bulkBytes = 256 << 10
)

// batch is entries of one map in one frame, by columns.
type batch struct {
	Seq        uint64 // to acknowledge, unique in the sender; 0: no acknowledgement wanted
	Stream     bool   // carried by a stream, not a packet: acknowledge by a stream too
	Session    uint64 // of anti-entropy; 0: rumors
	Map        string
	KeyBytes   int
	ValueBytes int
	Entries    []crdt.Entry
}

// batchOverhead bounds the bytes of a batch frame that are not in its entries.
func batchOverhead(sender, mapName string) int {
	return frameHeaderBytes + len(sender) + len(mapName) + 96
}

// fit returns how many of entries, at least one, fit a frame of limit bytes,
// and an upper bound of that frame's size.
func fit(overhead int, entries []crdt.Entry, limit int) (n, size int) {
	size = overhead
	for i := range entries {
		e := &entries[i]
		more := timestampBytes + 3 + len(e.Key) + len(e.Value)
		// An origin costs its name once a run of entries: an upper bound of
		// the table, and exact for the usual batch of one member's changes.
		if i == 0 || e.Version.Member != entries[i-1].Version.Member {
			more += len(e.Version.Member) + 3
		}
		if i > 0 && (size+more > limit || i >= maxOrigins) {
			return i, size
		}
		size += more
	}
	return len(entries), size
}

// encode returns the frame. All entries must have the sizes of the batch.
func (b batch) encode(sender string) []byte {
	n := len(b.Entries)
	var (
		origins = make([]string, 0, 4)
		index   = make(map[string]int, 4)
		times   = make([]byte, 0, n*timestampBytes)
		who     = make([]int, n)
		deleted = make([]byte, (n+7)/8)
		keys    = make([]byte, 0, n*b.KeyBytes)
		values  = make([]byte, 0, n*b.ValueBytes)
	)
	for i := range b.Entries {
		e := &b.Entries[i]
		at, ok := index[e.Version.Member]
		if !ok {
			at = len(origins)
			index[e.Version.Member] = at
			origins = append(origins, e.Version.Member)
		}
		who[i] = at
		times = e.Version.Time.AppendBinary(times)
		keys = append(keys, e.Key...)
		if e.Deleted {
			deleted[i/8] |= 1 << (i % 8)
		} else {
			values = append(values, e.Value...)
		}
	}
	w := newFrame(kindBatch, sender, 12, len(times)+3*n+len(keys)+len(values)+512)
	w.uint(b.Seq)
	w.flag(b.Stream)
	w.uint(b.Session)
	w.text(b.Map)
	w.number(b.KeyBytes)
	w.number(b.ValueBytes)
	w.array(len(origins))
	for _, o := range origins {
		w.text(o)
	}
	w.blob(times)
	w.blob(originColumn(who, len(origins)))
	w.blob(deleted)
	w.blob(keys)
	w.blob(values)
	return w.finish()
}

// originColumn is the index of each entry's origin: a byte each, two (big
// endian) from 257 origins on.
func originColumn(who []int, origins int) []byte {
	var col bytes.Buffer
	for _, at := range who {
		if origins > 256 {
			col.WriteByte(byte(at >> 8))
		}
		col.WriteByte(byte(at))
	}
	return col.Bytes()
}

// decodeBatch reads the fields of a kindBatch frame. Keys and values are parts
// of the input. Memory is at most a small multiple of the input's length.
func decodeBatch(r *fieldReader) (batch, error) {
	b := batch{
		Seq:        r.uint(),
		Stream:     r.flag(),
		Session:    r.uint(),
		Map:        r.text(maxMapNameBytes),
		KeyBytes:   r.number(MaxEntryBytes),
		ValueBytes: r.number(MaxEntryBytes),
	}
	var origins []string
	r.list(maxOrigins, func() {
		name := r.text(maxNodeBytes)
		if name == "" {
			r.fail("origin without a name")
		}
		origins = append(origins, name)
	})
	times := r.blob(maxFrameBytes)
	who := r.blob(maxFrameBytes)
	deleted := r.blob(maxFrameBytes)
	keys := r.blob(maxFrameBytes)
	values := r.blob(maxFrameBytes)
	if err := r.end(); err != nil {
		return batch{}, err
	}
	n := len(times) / timestampBytes
	width := 1
	if len(origins) > 256 {
		width = 2
	}
	gone := 0
	for _, bits := range deleted {
		for ; bits != 0; bits &= bits - 1 {
			gone++
		}
	}
	if n == 0 || len(times) != n*timestampBytes || len(who) != n*width || len(deleted) != (n+7)/8 ||
		b.KeyBytes == 0 || len(keys) != n*b.KeyBytes || gone > n || len(values) != (n-gone)*b.ValueBytes ||
		n%8 != 0 && deleted[n/8]>>(n%8) != 0 {
		r.fail("columns of a batch do not match")
		return batch{}, r.err
	}
	b.Entries = make([]crdt.Entry, n)
	for i := range b.Entries {
		e := &b.Entries[i]
		at := int(who[i*width])
		if width == 2 {
			at = at<<8 | int(who[i*width+1])
		}
		if at >= len(origins) {
			r.fail("origin %d of %d", at, len(origins))
			return batch{}, r.err
		}
		t, err := crdt.ParseTimestamp(times[i*timestampBytes : (i+1)*timestampBytes])
		if err != nil {
			r.fail("timestamp: %v", err)
			return batch{}, r.err
		}
		e.Version = crdt.Version{Time: t, Member: origins[at]}
		e.Key = keys[i*b.KeyBytes : (i+1)*b.KeyBytes : (i+1)*b.KeyBytes]
		if deleted[i/8]>>(i%8)&1 == 1 {
			e.Deleted = true
			continue
		}
		e.Value = values[:b.ValueBytes:b.ValueBytes]
		values = values[b.ValueBytes:]
	}
	return b, nil
}
