package kernels

import (
	"slices"
	"testing"
)

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
