//go:build race

package mapgossip

import _ "github.com/mapgossip/mapgossip/test/raceproc"

const fewer = 3 // seeds, for the race detector is slow: all without it
