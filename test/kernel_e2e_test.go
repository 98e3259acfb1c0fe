//go:build e2e

package test

import (
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

// TestNative holds that where a machine's kernel allows trampolines, demo and
// tests need no guests: it runs them inside one guest, as namespaces there.
func TestNative(t *testing.T) {
	if shared.Mode() == lab.Native {
		return // as every test here does already
	}
	h := shared.hosts[2]
	for _, command := range []string{
		"demo",
		"e2e.test -test.v -test.run=TestBurst/fexit|TestSoftirq|TestContention/fexit|TestPartition",
	} {
		c := h.Command(t.Context(), strings.Fields(command)...)
		c.Env = []string{"MAPGOSSIP_LAB=native", stage.Programs + "=/lab", "MAPGOSSIP_LABINIT=/lab/labinit"}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		t.Logf("%s\n%s", command, out)
	}
}
