//go:build amd64

package lab

import "testing"

// TestKilohertz holds that two measurements agree.
func TestKilohertz(t *testing.T) {
	a, b := kilohertz(), kilohertz()
	t.Log(a, b)
	if d := a - b; d < -a/1000 || d > a/1000 || a < 100_000 {
		t.Errorf("%d kHz, then %d kHz", a, b)
	}
}
