//go:build linux && guest

package mapwatch_test

import (
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
)

// Trampolines are allowed in the guests, and this is compiled for them only.
func TestHostConformanceByHooks(t *testing.T) {
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry} {
		t.Run(string(mode), func(t *testing.T) {
			conformance.Run(t, mode, subject)
		})
	}
}
