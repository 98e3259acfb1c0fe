//go:build linux

package main

import (
	"fmt"
	"math/bits"
	"runtime"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// together is how many keys are looked up together, as an agent does.
const together = 128

// mergeRow merges newer versions of all keys of a store, in an order that has
// nothing to do with how they lie there.
func mergeRow(b *bench) ([]line, error) {
	order := scattered(b.entries)
	store := crdt.NewStore(keyBytes, valueBytes)
	var k key // kept: a new one would be an allocation
	var v value
	merge := func(at, n uint64, wall int64) error {
		k, v = driven(n, b.entries)
		v[1] = byte(at)
		_, won, err := store.Merge(crdt.Entry{Key: k[:], Value: v[:], Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "writer"}})
		if err == nil && !won {
			err = fmt.Errorf("a newer version of key %x lost", k)
		}
		return err
	}
	began := now()
	for n := range b.entries {
		if err := merge(n, n, 1); err != nil {
			return nil, err
		}
	}
	fill := now() - began

	best, next, keys := time.Duration(1<<62), make([]key, together), make([][]byte, together)
	for i := range keys {
		keys[i] = next[i][:]
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for round := range 3 {
		began := now()
		for at := uint64(0); at < b.entries; at++ {
			if at%together == 0 {
				for i := range keys {
					next[i], _ = driven(order((at+uint64(i))%b.entries), b.entries)
				}
				store.Touch(keys)
			}
			if err := merge(at, order(at), int64(2+round)); err != nil {
				return nil, err
			}
		}
		best = min(best, now()-began)
	}

	runtime.ReadMemStats(&after)
	allocations := float64(after.Mallocs-before.Mallocs) / float64(3*b.entries)

	plain := make(map[key]value, b.entries)
	for n := range b.entries {
		k, v := driven(n, b.entries)
		plain[k] = v
	}
	beside := time.Duration(1 << 62)
	for range 3 {
		began := now()
		for at := range b.entries {
			k, v := driven(order(at), b.entries)
			plain[k] = v
		}
		beside = min(beside, now()-began)
	}
	// What it takes to make the entries and the order is no part of either.
	making := time.Duration(1 << 62)
	for range 3 {
		began := now()
		for at := range b.entries {
			k, v = driven(order(at), b.entries)
		}
		making = min(making, now()-began)
	}
	ns := func(d time.Duration) float64 { return float64(d-making) / float64(b.entries) }
	return []line{{
		what:      "merge of a newer entry",
		result:    fmt.Sprintf("%.0f ns, %.3f allocations; a new key %.0f ns", ns(best), allocations, ns(fill)),
		yardstick: fmt.Sprintf("assignment to a Go map: %.0f ns", ns(beside)),
		ratio:     ratio(float64(best-making), float64(beside-making)),
		goal:      "<= 250 ns, no allocation",
		met:       ns(best) <= 250 && allocations < 0.001,
	}}, nil
}

// scattered returns an order of the numbers below n: each once, neighbours far
// from each other.
func scattered(n uint64) func(uint64) uint64 {
	const golden = 0x9e3779b97f4a7c15
	step := golden % n
	for gcd(step, n) != 1 {
		step++
	}
	return func(i uint64) uint64 {
		hi, lo := bits.Mul64(i, step)
		_, rest := bits.Div64(hi, lo, n)
		return rest
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
