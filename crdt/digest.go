package crdt

import (
	"encoding/binary"
	"encoding/hex"
)

// Buckets is the number of parts that a store's keys fall into, so that two
// members can narrow down where they differ. It is part of the protocol.
const Buckets = 4096

// Keys of the two hashes, by purpose. They are part of the protocol: members
// with others never agree on a digest. (In ASCII: "mapgossip entry1" and
// "mapgossip bucket".)
const (
	entryHash0, entryHash1   = 0x6d6170676f737369, 0x7020656e74727931
	bucketHash0, bucketHash1 = 0x6d6170676f737369, 0x70206275636b6574
)

// Digest stands for a set of entries: tombstones and versions included, order
// and history not. Equal sets have equal digests; different sets have different
// ones but for a collision (HAZARD in the package documentation). The digest of
// no entries is the zero Digest.
//
// It is the sum, in two lanes modulo 2^64, of the hashes of the entries'
// canonical encodings, each lane big endian: an entry is taken out as cheaply
// as it is put in.
type Digest [16]byte

// String returns the digest as 32 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// BucketOf returns the bucket that key belongs to, 0 to Buckets-1: the same on
// every member and architecture.
func BucketOf(key []byte) int {
	return int(sipHashLow(bucketHash0, bucketHash1, key) % Buckets)
}

// PartOf returns the part of its bucket that key belongs to, when buckets are
// divided into that many (a power of two, up to 65536): 0 to parts-1, the same
// on every member and architecture.
func PartOf(key []byte, parts int) int {
	return int(sipHashLow(bucketHash0, bucketHash1, key)/Buckets) & (parts - 1)
}

const fingerprintMask = 1<<48 - 1

func fingerprintOf(encoded []byte, salt uint64) uint64 {
	return sipHashLow(entryHash0^salt, entryHash1, encoded) & fingerprintMask
}

// lanes are the running sums of a digest.
type lanes struct{ a, b uint64 }

// lanesOf returns what one entry, given as its canonical encoding, adds to a digest.
func lanesOf(encoded []byte) lanes {
	a, b := sipHash(entryHash0, entryHash1, encoded)
	return lanes{a, b}
}

func (l lanes) digest() (d Digest) {
	binary.BigEndian.PutUint64(d[:8], l.a)
	binary.BigEndian.PutUint64(d[8:], l.b)
	return d
}
