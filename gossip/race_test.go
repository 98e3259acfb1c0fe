//go:build race

package gossip

const million = 100_000 // the race detector makes hashing slow
