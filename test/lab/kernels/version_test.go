package kernels

import "testing"

func TestCompareVersions(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"6.1.176-1", "6.1.176-1", 0},
		{"6.1.99-1", "6.1.176-1", -1},
		{"6.12.95-1~bpo12+1", "6.12.95-1", -1},
		{"6.12.95-1~bpo12+1", "6.12.94-1~bpo12+1", 1},
		{"1:1.0", "2.0", 1},
		{"7.0.13-2~bpo13+1", "7.0.13-1~bpo13+1", 1},
		{"1.0~rc1", "1.0", -1},
		{"1.0a", "1.0", 1},
		{"1.0+b", "1.0a", 1},
		{"1.01", "1.1", 0},
		{"1.0-1", "1.0", 1},
		{"1-2-3", "1-2-4", -1},
		{"", "1", -1},
	} {
		if got := compareVersions(test.a, test.b); got != test.want {
			t.Errorf("%s to %s: got %d, want %d", test.a, test.b, got, test.want)
		}
		if got := compareVersions(test.b, test.a); got != -test.want {
			t.Errorf("%s to %s: got %d, want %d", test.b, test.a, got, -test.want)
		}
	}
}
