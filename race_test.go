//go:build race

package mapgossip

// Hours of virtual time crash the race detector now and then
// (golang/go#78156): fewer seeds with it, all without.
const fewer = 3
