package gossip

import "encoding/binary"

const (
	printBytes = 6 // of a fingerprint, and of a part's sum
	// Bounds of one chunk: buckets, sums of parts, fingerprints in all and in
	// one frame.
	maxChunkBuckets = 256
	maxChunkParts   = 10 << 10
	maxPrints       = 1 << 20
	framePrints     = 32 << 10
	maxParts        = 4096 // of a bucket
)

// syncParts asks for the fingerprints of those parts of some buckets in which
// the other side's entries have other sums.
type syncParts struct {
	Session uint64
	Chunk   int
	Buckets []byte // bucketMapBytes: a bit each, at most maxChunkBuckets
	Parts   int    // of each of them, a power of two
	Sums    []byte // printBytes each; bucket by bucket
}

func (s syncParts) encode(sender string) []byte {
	w := newFrame(kindSyncParts, sender, 5, len(s.Sums)+bucketMapBytes+512)
	w.uint(s.Session)
	w.number(s.Chunk)
	w.blob(s.Buckets)
	w.number(s.Parts)
	w.blob(s.Sums)
	return w.finish()
}

func decodeSyncParts(r *fieldReader) (syncParts, error) {
	s := syncParts{Session: r.uint(), Chunk: r.number(1 << 20), Buckets: r.blob(bucketMapBytes),
		Parts: r.number(maxParts), Sums: r.blob(printBytes * maxChunkParts)}
	if err := r.end(); err != nil {
		return syncParts{}, err
	}
	n := len(bucketList(s.Buckets))
	if len(s.Buckets) != bucketMapBytes || n == 0 || n > maxChunkBuckets ||
		s.Parts == 0 || s.Parts&(s.Parts-1) != 0 || len(s.Sums) != n*s.Parts*printBytes {
		r.fail("%d bytes of sums of %d parts of %d buckets", len(s.Sums), s.Parts, n)
		return syncParts{}, r.err
	}
	return s, nil
}

// syncPrints is the fingerprints of all entries in the parts that differ, or,
// where these do not fit a frame, some of them.
type syncPrints struct {
	Session uint64
	Chunk   int
	Parts   []byte // a bit each, in the order of syncParts.Sums: these differ
	Total   int    // fingerprints of the chunk
	At      int    // the number of the first one here
	Prints  []byte // printBytes each
}

func (s syncPrints) encode(sender string) []byte {
	w := newFrame(kindSyncPrints, sender, 6, len(s.Prints)+len(s.Parts)+512)
	w.uint(s.Session)
	w.number(s.Chunk)
	w.blob(s.Parts)
	w.number(s.Total)
	w.number(s.At)
	w.blob(s.Prints)
	return w.finish()
}

func decodeSyncPrints(r *fieldReader) (syncPrints, error) {
	s := syncPrints{Session: r.uint(), Chunk: r.number(1 << 20), Parts: r.blob(maxChunkParts / 8),
		Total: r.number(maxPrints), At: r.number(maxPrints), Prints: r.blob(printBytes * framePrints)}
	if err := r.end(); err != nil {
		return syncPrints{}, err
	}
	if n := len(s.Prints) / printBytes; len(s.Prints)%printBytes != 0 || s.At%framePrints != 0 ||
		n != min(framePrints, s.Total-s.At) || n == 0 && s.Total > 0 {
		r.fail("%d bytes of fingerprints from %d of %d", len(s.Prints), s.At, s.Total)
		return syncPrints{}, r.err
	}
	return s, nil
}

// syncLack says which of the chunk's fingerprints the sender lacks, and how new
// the entries are that it has and the other side lacks: an older one of the
// same key need not be sent.
type syncLack struct {
	Session uint64
	Chunk   int
	Lacks   []byte // a bit each
	Newer   []byte // hintBytes each, at most framePrints
}

// hintBytes is a hash of the key (keyHint) and Timestamp.Wall, big endian.
const hintBytes = 8 + 8

// keyHint tells the keys of a chunk apart, by other numbers in each session so
// that a collision does not last. It is part of the protocol (FNV-1a).
func keyHint(key []byte, session uint64) uint64 {
	h := session ^ 0xcbf29ce484222325
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return h
}

func (s syncLack) encode(sender string) []byte {
	w := newFrame(kindSyncLack, sender, 4, len(s.Lacks)+len(s.Newer)+512)
	w.uint(s.Session)
	w.number(s.Chunk)
	w.blob(s.Lacks)
	w.blob(s.Newer)
	return w.finish()
}

func decodeSyncLack(r *fieldReader) (syncLack, error) {
	s := syncLack{Session: r.uint(), Chunk: r.number(1 << 20), Lacks: r.blob(maxPrints / 8),
		Newer: r.blob(hintBytes * framePrints)}
	if err := r.end(); err != nil {
		return syncLack{}, err
	}
	if len(s.Newer)%hintBytes != 0 {
		r.fail("%d bytes of hints", len(s.Newer))
		return syncLack{}, r.err
	}
	return s, nil
}

// syncChunk says that all that was lacked of a chunk is merged.
type syncChunk struct {
	Session uint64
	Chunk   int
}

func (s syncChunk) encode(sender string) []byte {
	w := newFrame(kindSyncChunk, sender, 2, 512)
	w.uint(s.Session)
	w.number(s.Chunk)
	return w.finish()
}

func decodeSyncChunk(r *fieldReader) (syncChunk, error) {
	s := syncChunk{Session: r.uint(), Chunk: r.number(1 << 20)}
	return s, r.end()
}

// syncEnd stands for a kindSyncEnd frame in a session's mail.
type syncEnd struct{}

func appendPrint(b []byte, p uint64) []byte {
	return append(b, byte(p>>40), byte(p>>32), byte(p>>24), byte(p>>16), byte(p>>8), byte(p))
}

// printAt returns fingerprint i.
func printAt(b []byte, i int) uint64 {
	b = b[i*printBytes:]
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

func bitAt(bits []byte, i int) bool { return bits[i/8]>>(i%8)&1 == 1 }

func setBit(bits []byte, i int) { bits[i/8] |= 1 << (i % 8) }
