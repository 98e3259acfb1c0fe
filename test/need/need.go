// Package need lets tests say what they need of the machine. What is missing
// skips the test with the reason, or fails it where the environment variable
// MAPGOSSIP_NO_SKIP is 1, as it is where everything must run.
//
// Only a typed "not permitted" or "not supported" counts as missing: any other
// answer of the kernel is a fault and fails the test.
package need

import (
	"errors"
	"os"
	"testing"
)

// Skip ends the test, for that reason.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("MAPGOSSIP_NO_SKIP") == "1" {
		t.Fatalf("this machine lacks something, and MAPGOSSIP_NO_SKIP=1 forbids to skip: %s", reason)
	}
	t.Skip(reason)
}

// Root needs user ID 0.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// missing tells errors that mean "this machine won't" from faults.
func missing(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported)
}
