//go:build linux

package mapwatch_test

import (
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
	"github.com/mapgossip/mapgossip/test/need"
)

// What needs no trampolines holds on every machine.
func TestHostConformanceByScan(t *testing.T) {
	need.Root(t)
	need.BPFFS(t)
	conformance.Run(t, mapwatch.ModeScan, subject)
}
