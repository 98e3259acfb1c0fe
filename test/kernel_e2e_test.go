//go:build e2e

package test

import (
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

// TestKernels runs mapwatch's own tests on each kernel, with real trampolines:
// what is captured from which context, own applies, failed operations, losses,
// and the conformance suite that the fake passes too.
func TestKernels(t *testing.T) {
	hosts := shared.hosts[:]
	if shared.Mode() == lab.Native {
		hosts = hosts[:1] // they share one kernel
	}
	for _, h := range hosts {
		t.Run(h.Kernel(), func(t *testing.T) {
			t.Parallel()
			c := h.Command(t.Context(), "mapwatch.test", "-test.v", "-test.timeout=8m")
			c.Env = []string{"MAPGOSSIP_NO_SKIP=1"}
			out, err := c.CombinedOutput()
			passed := strings.Count(string(out), "--- PASS")
			if err != nil || strings.Contains(string(out), "--- SKIP") || passed < 50 {
				t.Fatalf("%d tests passed: %v\n%s", passed, err, out)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}

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
