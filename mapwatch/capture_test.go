//go:build linux

package mapwatch

import "testing"

func TestLimitsFor(t *testing.T) {
	const rest = recordHeadBytes + commBytes
	for _, test := range []struct {
		name      string
		ringBytes int
		shapes    []Shape
		want      captureLimits
	}{
		{"one small map", 8 << 20, []Shape{{KeyBytes: 13, ValueBytes: 77}}, captureLimits{13, 77, 152}},
		{"largest key and value of different maps", 8 << 20, []Shape{{KeyBytes: 512, ValueBytes: 8}, {KeyBytes: 4, ValueBytes: 1000}},
			captureLimits{512, 1000, 1568}},
		{"value that fits exactly", 8 << 20, []Shape{{KeyBytes: 8, ValueBytes: 32<<10 - rest - 8}}, captureLimits{8, 32<<10 - rest - 8, 32 << 10}},
		{"value too long by one is left out", 8 << 20, []Shape{{KeyBytes: 8, ValueBytes: 32<<10 - rest - 7}, {KeyBytes: 4, ValueBytes: 16}},
			captureLimits{8, 16, 80}},
		{"key too long is left out", 8 << 20, []Shape{{KeyBytes: 20 << 10, ValueBytes: 8}, {KeyBytes: 4, ValueBytes: 16}}, captureLimits{4, 16, 80}},
		{"no record above half of the ring", 4096, []Shape{{KeyBytes: 8, ValueBytes: 2048 - rest - 7}, {KeyBytes: 8, ValueBytes: 2048 - rest - 8}},
			captureLimits{8, 2048 - rest - 8, 2048}},
	} {
		if got := limitsFor(test.shapes, test.ringBytes); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
