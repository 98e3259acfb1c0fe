package mapgossip

import (
	"bytes"
	"hash/maphash"

	"github.com/mapgossip/mapgossip/crdt"
)

// content is what a key holds: a value, or nothing.
type content struct {
	present bool
	value   []byte
}

func (c content) equal(d content) bool {
	return c.present == d.present && bytes.Equal(c.value, d.value)
}

func (c content) clone() content {
	return content{c.present, bytes.Clone(c.value)}
}

// contentOf is what a kernel map holds for a key once e is applied.
func contentOf(e crdt.Entry) content {
	return content{present: !e.Deleted, value: e.Value}
}

// fingerprint stands for a content where keeping the value would cost too much.
// The seed is random and the process's own, so two different contents collide
// with a chance of 2^-56 that no peer can raise. The zero fingerprint stands for
// none and matches nothing.
type fingerprint uint64

// Fingerprints have the lowest bit set, or are absence; seven bits above
// these two are never set (see waitCell).
const (
	presence fingerprint = 1
	absence  fingerprint = 2
)

func (c content) fingerprint(seed maphash.Seed) fingerprint {
	if !c.present {
		return absence
	}
	return fingerprint(maphash.Bytes(seed, c.value))&^511 | presence
}

// verdict is what settling a key asks for.
type verdict uint8

const (
	verdictInSync verdict = iota // kernel and store agree
	verdictWrite                 // an older content that we account for is still there: write the entry
	verdictStamp                 // a local write that no record told of: stamp it
	verdictEvict                 // the kernel let go of the entry to make room
)

func (v verdict) String() string { return [...]string{"in sync", "write", "stamp", "evict"}[v] }

// settle decides what one key needs, from what the kernel holds (K), what the
// store's entry says (E; known is false when the store has none) and the bases:
// what we last wrote to the key (A) and, while an entry could not be applied,
// what was there before it came.
//
// K equal E: done. K equal a base: nobody else wrote since, so E is to be
// written. Everything else is a local write that was missed.
//
// It holds only when every record of the key so far has been processed.
func settle(kernel content, entry content, known bool, seed maphash.Seed, bases ...fingerprint) verdict {
	if !known {
		if kernel.present {
			return verdictStamp
		}
		return verdictInSync
	}
	if kernel.equal(entry) {
		return verdictInSync
	}
	found := kernel.fingerprint(seed)
	for _, base := range bases {
		if base != 0 && base == found {
			return verdictWrite
		}
	}
	return verdictStamp
}
