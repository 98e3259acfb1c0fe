package crdt

import (
	"encoding/binary"
	"math/bits"
)

// sipHash returns the two halves of SipHash-2-4 with 128 bits of output
// (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012; the reference C
// code of its authors gives the order of the output bytes, little endian each).
//
// Digests need a hash that is the same on every architecture and Go release,
// and whose sums do not cancel for entries that are alike. Measured for 80
// bytes on an AMD EPYC (Zen 5): SipHash 34 ns, crypto/sha256 107 ns with its
// instructions and 230 to 390 ns without, 128-bit FNV-1a 109 ns. The keys in use
// are constants, thus public: see the HAZARD about forged digests.
func sipHash(k0, k1 uint64, p []byte) (lo, hi uint64) {
	v0, v1, v2, v3 := sipAbsorb(k0, k1, p)
	v0, v1, v2, v3 = sipFinish(v0, v1, v2^0xee, v3)
	lo = v0 ^ v1 ^ v2 ^ v3
	v0, v1, v2, v3 = sipFinish(v0, v1^0xdd, v2, v3)
	return lo, v0 ^ v1 ^ v2 ^ v3
}

// sipHashLow returns the first half of sipHash.
func sipHashLow(k0, k1 uint64, p []byte) uint64 {
	v0, v1, v2, v3 := sipAbsorb(k0, k1, p)
	v0, v1, v2, v3 = sipFinish(v0, v1, v2^0xee, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

// sipAbsorb returns the state after all of p.
func sipAbsorb(k0, k1 uint64, p []byte) (v0, v1, v2, v3 uint64) {
	v0 = k0 ^ 0x736f6d6570736575
	v1 = k1 ^ 0x646f72616e646f6d ^ 0xee
	v2 = k0 ^ 0x6c7967656e657261
	v3 = k1 ^ 0x7465646279746573

	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	return v0, v1, v2, v3
}

func sipFinish(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0, v1, v2, v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
