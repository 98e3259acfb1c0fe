package kernels

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	mainArchive     = "debian"
	securityArchive = "debian-security"

	defaultServer = "http://deb.debian.org/"
)

// mirror returns the first mirror of one of Debian's archives that the machine's own apt
// set-up (folder: /etc/apt) names, so that a private mirror is used where there is one.
func mirror(folder, archive string) string {
	files := []string{filepath.Join(folder, "sources.list")}
	parts, _ := filepath.Glob(filepath.Join(folder, "sources.list.d", "*"))
	slices.Sort(parts)
	for _, f := range append(files, parts...) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var found string
		switch filepath.Ext(f) {
		case ".list":
			found = mirrorInList(string(b), archive)
		case ".sources":
			found = mirrorInSources(string(b), archive)
		}
		if found != "" {
			return found
		}
	}
	return defaultServer + archive
}

// mirrorInList reads the one-line format of sources.list(5).
func mirrorInList(text, archive string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") { // options
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); kind == "deb" && len(f) >= 2 && isArchive(f[0], archive) {
			return f[0]
		}
	}
	return ""
}

// mirrorInSources reads the deb822 format.
func mirrorInSources(text, archive string) string {
	for line := range strings.Lines(text) {
		field, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(field), "URIs") {
			continue
		}
		for uri := range strings.FieldsSeq(value) {
			if isArchive(uri, archive) {
				return uri
			}
		}
	}
	return ""
}

// isArchive tells Debian's archives from one another and from others by the last part of
// the address, which mirrors keep. Debian's cloud images name a file (mirror+file:…/debian.list).
func isArchive(uri, archive string) bool {
	if strings.HasPrefix(uri, "cdrom:") {
		return false
	}
	base := path.Base(strings.TrimRight(uri, "/"))
	return base == archive || base == archive+".list"
}
