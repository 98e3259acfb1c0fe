package gossip

import (
	"math/bits"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	timestampBytes = crdt.TimestampBytes
	maxOrigins     = 65535
	// bulkBytes is the size at which a stream frame is closed. A single
	// larger entry still makes a frame of its own.
	bulkBytes = 192 << 10
	// maxInterned bounds the origins' names that a decoder remembers.
	maxInterned = 4096
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

// decoder decodes batches one after the other in the same memory. The zero
// decoder is ready to use.
type decoder struct {
	entries []crdt.Entry
	origins []string
	names   map[string]string // interned
}

// intern returns name as a string, the same one each time.
func (d *decoder) intern(name []byte) string {
	if s, ok := d.names[string(name)]; ok {
		return s
	}
	if d.names == nil || len(d.names) >= maxInterned {
		d.names = make(map[string]string)
	}
	s := string(name)
	d.names[s] = s
	return s
}

// batch reads the fields of a kindBatch frame. Keys and values are parts of
// the input, and the entries are the decoder's, until its next batch. Memory is
// at most a small multiple of the input's length.
func (d *decoder) batch(r *fieldReader) (batch, error) {
	b := batch{
		Seq:        r.uint(),
		Stream:     r.flag(),
		Session:    r.uint(),
		Map:        r.text(maxMapNameBytes),
		KeyBytes:   r.number(MaxEntryBytes),
		ValueBytes: r.number(MaxEntryBytes),
	}
	d.origins = d.origins[:0]
	r.list(maxOrigins, func() {
		name := r.blob(maxNodeBytes)
		if len(name) == 0 {
			r.fail("origin without a name")
		}
		d.origins = append(d.origins, d.intern(name))
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
	if len(d.origins) > 256 {
		width = 2
	}
	gone := 0
	for _, b := range deleted {
		gone += bits.OnesCount8(b)
	}
	if n == 0 || len(times) != n*timestampBytes || len(who) != n*width || len(deleted) != (n+7)/8 ||
		b.KeyBytes == 0 || len(keys) != n*b.KeyBytes || gone > n || len(values) != (n-gone)*b.ValueBytes ||
		n%8 != 0 && deleted[n/8]>>(n%8) != 0 {
		r.fail("columns of a batch do not match")
		return batch{}, r.err
	}
	if cap(d.entries) < n {
		d.entries = make([]crdt.Entry, n)
	}
	b.Entries = d.entries[:n]
	for i := range b.Entries {
		at := int(who[i*width])
		if width == 2 {
			at = at<<8 | int(who[i*width+1])
		}
		if at >= len(d.origins) {
			r.fail("origin %d of %d", at, len(d.origins))
			return batch{}, r.err
		}
		t, err := crdt.ParseTimestamp(times[i*timestampBytes : (i+1)*timestampBytes])
		if err != nil {
			r.fail("timestamp: %v", err)
			return batch{}, r.err
		}
		e := crdt.Entry{
			Key:     keys[i*b.KeyBytes : (i+1)*b.KeyBytes : (i+1)*b.KeyBytes],
			Version: crdt.Version{Time: t, Member: d.origins[at]},
			Deleted: deleted[i/8]>>(i%8)&1 == 1,
		}
		if !e.Deleted {
			e.Value = values[:b.ValueBytes:b.ValueBytes]
			values = values[b.ValueBytes:]
		}
		b.Entries[i] = e
	}
	return b, nil
}

// keepEntries bounds the entries that a decoder keeps room for between uses.
const keepEntries = 32 << 10

// forget lets go of the input, so that the decoder does not pin it.
func (d *decoder) forget() {
	if cap(d.entries) > keepEntries {
		d.entries = nil
	}
	clear(d.entries[:cap(d.entries)])
}
