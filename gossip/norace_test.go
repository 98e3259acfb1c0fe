//go:build !race

package gossip

const million = 1_000_000
