package kernels

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestKernelNames(t *testing.T) {
	list := []byte(`linux-image-6.1.0-47-cloud-amd64
linux-image-6.1.0-50-cloud-amd64-dbg
linux-image-6.1.0-50-cloud-amd64-unsigned
linux-image-6.1.0-50-amd64
linux-image-6.1.0-50-rt-amd64
linux-image-6.1.0-50-cloud-amd64
linux-image-6.12.95+deb12-cloud-amd64
linux-image-6.19.14+deb13-cloud-amd64
linux-image-6.1.0-50-cloud-arm64
linux-image-cloud-amd64
`)
	for series, want := range map[string][]string{
		"6.1":  {"linux-image-6.1.0-47-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64"},
		"6.12": {"linux-image-6.12.95+deb12-cloud-amd64"},
		"6.19": {"linux-image-6.19.14+deb13-cloud-amd64"},
		"6.9":  nil,
		Newest: {"linux-image-6.1.0-47-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64", "linux-image-6.12.95+deb12-cloud-amd64", "linux-image-6.19.14+deb13-cloud-amd64"},
	} {
		if got := kernelNames(list, series, "amd64"); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", series, got, want)
		}
	}
}

func TestSuiteOrder(t *testing.T) {
	for series, want := range map[string]string{
		"6.1": "bookworm", "6.12": "bookworm-backports", "6.18": "trixie-backports", "7.3": "trixie-backports",
		"5.10": "bullseye-security bullseye", Newest: "trixie-backports sid", "5.99": "",
	} {
		first, others := suiteOrder(series)
		var names []string
		for _, s := range first {
			names = append(names, s.name)
		}
		if got := strings.Join(names, " "); got != want || len(first)+len(others) != len(suites) {
			t.Errorf("%s: got %q and %d others, want %q", series, got, len(others), want)
		}
	}
}

func TestWish(t *testing.T) {
	for _, w := range []wish{
		{"", "amd64"}, {"6", "amd64"}, {"6.1.0", "amd64"}, {"../../etc", "amd64"}, {"6.1/x", "amd64"}, {"six", "amd64"},
		{"newest-of-all", "amd64"}, {"6.1", ""}, {"6.1", "../x"},
	} {
		if _, err := fetch(t.Context(), t.TempDir(), w, nil); !errors.Is(err, ErrSeries) {
			t.Errorf("%+v: got %v", w, err)
		}
	}
}
