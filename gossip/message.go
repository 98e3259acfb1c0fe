package gossip

import (
	"encoding/binary"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	maxAcks        = 256
	maxReasonBytes = 512
	bucketMapBytes = crdt.Buckets / 8
)

// state is what a member says about its maps: in memberlist's push/pull, and
// as question and answer of anti-entropy.
type state struct {
	Nonce uint64 // pairs an answer with its question; 0 in push/pull
	Reply bool   // an answer is wanted
	Ready bool   // this member has done its first full exchange
	Order uint64 // counts what this member tells, from 1: of two states the one with more is newer
	Maps  []mapState
	// Lacking names the maps that this member is to have and has no kernel map of.
	Lacking []string
}

type mapState struct {
	Map
	Refused bool  // this member keeps its map out of the exchange
	Filled  bool  // it has had a whole exchange of it, or is alone with it
	Known   bool  // Digest and Progress are there, as they were at one moment
	Since   int64 // when it was added, by this member's clock, ns since the Unix epoch
	Room    Room
	Digest  crdt.Digest

	Progress crdt.Report
}

func (s state) encode(sender string) []byte {
	w := newFrame(kindState, sender, 6, 1024)
	w.uint(s.Nonce)
	w.flag(s.Reply)
	w.flag(s.Ready)
	w.uint(s.Order)
	w.array(len(s.Maps))
	for _, m := range s.Maps {
		w.array(11)
		w.text(m.Name)
		w.text(m.Type)
		w.number(m.KeyBytes)
		w.number(m.ValueBytes)
		w.flag(m.Refused)
		w.flag(m.Filled)
		w.int(m.Since)
		w.number(m.Room.MaxEntries)
		w.number(m.Room.Waiting)
		if m.Known {
			w.blob(m.Digest[:])
		} else {
			w.blob([]byte{})
		}
		w.report(m.Progress)
	}
	w.array(len(s.Lacking))
	for _, name := range s.Lacking {
		w.text(name)
	}
	return w.finish()
}

func decodeState(r *fieldReader) (state, error) {
	s := state{Nonce: r.uint(), Reply: r.flag(), Ready: r.flag(), Order: r.uint()}
	r.list(maxMaps, func() {
		r.record(11, func() {
			m := mapState{Map: Map{
				Name:       r.text(maxMapNameBytes),
				Type:       r.text(maxMapTypeBytes),
				KeyBytes:   r.number(MaxEntryBytes),
				ValueBytes: r.number(MaxEntryBytes),
			}, Refused: r.flag(), Filled: r.flag(), Since: r.time(), Room: Room{r.number(maxRoom), r.number(maxRoom)}}
			switch digest := r.blob(len(m.Digest)); len(digest) {
			case 0:
			case len(m.Digest):
				m.Known = true
				copy(m.Digest[:], digest)
			default:
				r.fail("digest of %d bytes", len(digest))
			}
			m.Progress = r.report()
			if n := len(s.Maps); n == cap(s.Maps) { // append would take a multiple of the input's size
				s.Maps = append(make([]mapState, 0, max(8, 2*n)), s.Maps...)
			}
			s.Maps = append(s.Maps, m)
		})
	})
	r.list(maxMaps, func() { s.Lacking = append(s.Lacking, r.text(maxMapNameBytes)) })
	return s, r.end()
}

func encodeAck(sender string, seqs []uint64) []byte {
	w := newFrame(kindAck, sender, 1, 64+9*len(seqs)+len(sender))
	w.array(len(seqs))
	for _, s := range seqs {
		w.uint(s)
	}
	return w.finish()
}

func decodeAck(r *fieldReader) (seqs []uint64, err error) {
	r.list(maxAcks, func() { seqs = append(seqs, r.uint()) })
	return seqs, r.end()
}

// syncStart opens a session of anti-entropy about one map.
type syncStart struct {
	Session uint64
	Map     Map
	Digests []uint64 // crdt.Buckets of them

	Progress crdt.Report // as it was then
}

func (s syncStart) encode(sender string) []byte {
	w := newFrame(kindSyncStart, sender, 7, 8*len(s.Digests)+1024)
	w.uint(s.Session)
	w.text(s.Map.Name)
	w.text(s.Map.Type)
	w.number(s.Map.KeyBytes)
	w.number(s.Map.ValueBytes)
	digests := make([]byte, 0, 8*len(s.Digests))
	for _, d := range s.Digests {
		digests = binary.BigEndian.AppendUint64(digests, d)
	}
	w.blob(digests)
	w.report(s.Progress)
	return w.finish()
}

func decodeSyncStart(r *fieldReader) (syncStart, error) {
	s := syncStart{Session: r.uint(), Map: Map{
		Name:       r.text(maxMapNameBytes),
		Type:       r.text(maxMapTypeBytes),
		KeyBytes:   r.number(MaxEntryBytes),
		ValueBytes: r.number(MaxEntryBytes),
	}}
	digests := r.blob(8 * crdt.Buckets)
	s.Progress = r.report()
	if err := r.end(); err != nil {
		return syncStart{}, err
	}
	if len(digests) != 8*crdt.Buckets {
		r.fail("%d bytes of bucket digests", len(digests))
		return syncStart{}, r.err
	}
	s.Digests = make([]uint64, crdt.Buckets)
	for i := range s.Digests {
		s.Digests[i] = binary.BigEndian.Uint64(digests[8*i:])
	}
	return s, nil
}

// syncWant names the buckets to exchange, a bit each.
type syncWant struct {
	Session uint64
	Buckets []byte // bucketMapBytes: these differ
	Empty   []byte // bucketMapBytes: and the sender has nothing in these

	Progress crdt.Report // as it was then
}

func (s syncWant) encode(sender string) []byte {
	w := newFrame(kindSyncWant, sender, 4, 2*bucketMapBytes+1024)
	w.uint(s.Session)
	w.blob(s.Buckets)
	w.blob(s.Empty)
	w.report(s.Progress)
	return w.finish()
}

func decodeSyncWant(r *fieldReader) (syncWant, error) {
	s := syncWant{Session: r.uint(), Buckets: r.blob(bucketMapBytes), Empty: r.blob(bucketMapBytes), Progress: r.report()}
	if err := r.end(); err != nil {
		return syncWant{}, err
	}
	if len(s.Buckets) != bucketMapBytes || len(s.Empty) != bucketMapBytes {
		r.fail("%d and %d bytes of buckets", len(s.Buckets), len(s.Empty))
		return syncWant{}, r.err
	}
	return s, nil
}

// differing returns the buckets, a bit each, in which two lists of digests differ.
func differing(a, b []uint64) []byte {
	bits := make([]byte, bucketMapBytes)
	for i := range a {
		if a[i] != b[i] {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return bits
}

// bucketList returns the numbers of the set bits.
func bucketList(bits []byte) (buckets []int) {
	for i := range len(bits) * 8 {
		if bits[i/8]>>(i%8)&1 == 1 {
			buckets = append(buckets, i)
		}
	}
	return buckets
}

func encodeSyncEnd(sender string, session uint64) []byte {
	w := newFrame(kindSyncEnd, sender, 1, 512)
	w.uint(session)
	return w.finish()
}

func decodeSyncEnd(r *fieldReader) (session uint64, err error) {
	session = r.uint()
	return session, r.end()
}

func encodeSyncRefuse(sender string, session uint64, reason string) []byte {
	w := newFrame(kindSyncRefuse, sender, 2, 1024)
	w.uint(session)
	w.text(reason[:min(len(reason), maxReasonBytes)])
	return w.finish()
}

func decodeSyncRefuse(r *fieldReader) (session uint64, reason string, err error) {
	session, reason = r.uint(), r.text(maxReasonBytes)
	return session, reason, r.end()
}

func encodeGoodbye(sender string) []byte { return newFrame(kindGoodbye, sender, 0, 512).finish() }

func decodeGoodbye(r *fieldReader) error { return r.end() }
