//go:build linux

package ways

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// A refusal for which there is no known reason is a fault, not a refusal.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		kind, way string
		err       error
		want      Outcome
	}{
		{"array", "syscall delete", fmt.Errorf("delete: %w", unix.EINVAL), Refused},
		{"array", "syscall delete", fmt.Errorf("delete: %w", unix.EPERM), Unknown},
		{"hash", "syscall delete", fmt.Errorf("delete: %w", unix.EINVAL), Unknown},
		{"lpm_trie", "lookup and delete", fmt.Errorf("lookup and delete: %w", errNotSupp), Refused},
		{"hash", "full, evict=local", unix.E2BIG, Refused},
		{"lru_hash", "full, evict=local", unix.E2BIG, Unknown},
		{"hash", "program update, tracing", unix.EINVAL, Unknown},
		{"hash", "for each", errors.New("what?"), Unknown},
	} {
		if got, reason := refuse(c.kind, c.way, c.err); got != c.want || reason == "" {
			t.Errorf("%s, %s, %v: %s: %s", c.kind, c.way, c.err, got, reason)
		}
	}
}
