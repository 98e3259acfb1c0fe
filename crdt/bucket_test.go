package crdt_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// sameBucket returns n keys that belong to one bucket.
func sameBucket(keyBytes, n int) (keys [][]byte) {
	first := make([]byte, keyBytes)
	for i := uint64(0); len(keys) < n; i++ {
		key := binary.BigEndian.AppendUint64(nil, i)[8-min(keyBytes, 8):]
		if crdt.BucketOf(key) == crdt.BucketOf(first) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Someone who crowds one bucket gets a crowded bucket, and all his entries.
func TestCrowdedBucket(t *testing.T) {
	s := crdt.NewStore(8, valueBytes)
	keys := sameBucket(8, 300)
	for _, key := range keys {
		mustMerge(t, s, with(sample, func(e *crdt.Entry) { e.Key = key }))
	}
	for i := range crdt.Buckets {
		got, want := len(slices.Collect(s.Bucket(i))), 0
		if i == crdt.BucketOf(keys[0]) {
			want = len(keys)
		}
		if got != want {
			t.Errorf("bucket %d has %d entries, want %d", i, got, want)
		}
	}
	for _, key := range keys {
		if e, ok := s.Get(key); !ok || !bytes.Equal(e.Key, key) {
			t.Errorf("get %x: %+v, %v", key, e, ok)
		}
	}
}

// Keys as maps have them (counters in either byte order, strided, addresses) fall
// into all buckets about evenly.
func TestBucketsAreEven(t *testing.T) {
	const perBucket = 64
	for name, key := range map[string]func(i int) []byte{
		"little endian": func(i int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(i)) },
		"big endian":    func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) },
		"strided":       func(i int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(i)<<12) },
		"flow": func(i int) []byte {
			return binary.BigEndian.AppendUint16([]byte{10, 0, byte(i >> 16), byte(i >> 8), 10, 0, 0, 1, 0, 80}, uint16(i))
		},
	} {
		var counts [crdt.Buckets]int
		for i := range crdt.Buckets * perBucket {
			counts[crdt.BucketOf(key(i))]++
		}
		// 6 standard deviations of what chance would do.
		if least, most := slices.Min(counts[:]), slices.Max(counts[:]); least < perBucket-48 || most > perBucket+48 {
			t.Errorf("%s keys: %d to %d a bucket, mean %d", name, least, most, perBucket)
		}
	}
}
