package need

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// recorder is a testing.TB that writes down how the test was ended.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skip(...any)           { r.skipped = true; panic(r) }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic(r) }

func TestSkip(t *testing.T) {
	for value, fails := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv("MAPGOSSIP_NO_SKIP", value)
		r := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			Skip(r, "the moon is not full")
			t.Error("Skip returned")
		}()
		if r.failed != fails || r.skipped == fails {
			t.Errorf("MAPGOSSIP_NO_SKIP=%q: failed %t, skipped %t", value, r.failed, r.skipped)
		}
	}
}

// Faults must not hide as skips.
func TestMissing(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EPERM:                         true,
		syscall.EACCES:                        true,
		syscall.ENOSYS:                        true,
		syscall.EOPNOTSUPP:                    true,
		syscall.EINVAL:                        false,
		syscall.ENOMEM:                        false,
		syscall.E2BIG:                         false,
		errors.New("operation not permitted"): false,
	} {
		if missing(fmt.Errorf("create a map: %w", err)) != want {
			t.Errorf("%v: missing is %t, want %t", err, !want, want)
		}
	}
}
