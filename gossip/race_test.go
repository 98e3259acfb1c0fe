//go:build race

package gossip

import _ "github.com/mapgossip/mapgossip/test/raceproc"

const million = 100_000 // the race detector makes hashing slow
