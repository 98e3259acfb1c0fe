package kernels

import (
	"errors"
	"slices"
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
`)
	for series, want := range map[string][]string{
		"6.1":  {"linux-image-6.1.0-47-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64"},
		"6.12": {"linux-image-6.12.95+deb12-cloud-amd64"},
		"6.19": {"linux-image-6.19.14+deb13-cloud-amd64"},
		"6.9":  nil,
	} {
		if got := kernelNames(list, series); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", series, got, want)
		}
	}
}

const shown = `Package: linux-image-7.3.4+deb13-cloud-amd64
Source: linux-signed-amd64 (7.3.4+1~bpo13+1)
Version: 7.3.4-1~bpo13+1
Depends: linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
Description: Linux
 Size: not this one
Size: 1928

Package: linux-image-7.3.11+deb13-cloud-amd64
Version: 7.3.11-1~bpo13+1
Depends: kmod, linux-base-7.3.11+deb13-cloud-amd64 (= 7.3.11-1~bpo13+1)
Size: 26000000

`

func TestParseShow(t *testing.T) {
	all, err := parseShow([]byte(shown))
	if err != nil || len(all) != 2 {
		t.Fatalf("got %v, %v", all, err)
	}
	if p := all[0]; p.version != "7.3.4-1~bpo13+1" || p.sizeBytes != 1928 {
		t.Errorf("got %+v", p)
	}
	want := []string{"linux-base-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"}
	if got := splitParts(all[0], "7.3.4+deb13-cloud-amd64"); !slices.Equal(got, want) {
		t.Errorf("parts: got %q", got)
	}
	if got := splitParts(all[1], "7.3.11+deb13-cloud-amd64"); got != nil {
		t.Errorf("parts of a whole package: got %q", got)
	}
	if _, err := parseShow([]byte("Package: x\nVersion: 1\nSize: many\n")); err == nil {
		t.Error("a size that is no number was taken")
	}
}

func TestSuiteOrder(t *testing.T) {
	for series, first := range map[string]string{
		"6.1": "bookworm", "6.12": "bookworm-backports", "6.18": "trixie-backports",
		"7.3": "trixie-backports", "5.10": "bullseye", "5.99": "bookworm-backports",
	} {
		got := suiteOrder(series)
		if got[0] != first || len(got) != len(suites) {
			t.Errorf("%s: got %q", series, got)
		}
	}
}

func TestSeries(t *testing.T) {
	for _, series := range []string{"", "6", "6.1.0", "../../etc", "6.1/x", "six"} {
		if _, err := fetch(t.Context(), t.TempDir(), series, nil); !errors.Is(err, ErrSeries) {
			t.Errorf("%q: got %v", series, err)
		}
	}
}
