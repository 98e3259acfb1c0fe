package kernels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// suites are where kernels are looked for, with the series that each is the first
// choice for. The others are asked after it, in this order: small lists first.
var suites = []struct {
	name    string
	archive string // of Debian's, by the last part of its address
	series  string // prefix of the series, or Newest; several, by spaces
}{
	{"bookworm-backports", mainArchive, "6.12"},
	{"trixie-backports", mainArchive, "6.16 6.17 6.18 6.19 7. " + Newest},
	{"bookworm", mainArchive, "6.1"},
	{"bullseye-security", securityArchive, "5.10"},
	{"bullseye", mainArchive, "5.10"},
	{"trixie", mainArchive, ""},
	{"sid", mainArchive, Newest},
}

// suite is one release of Debian with an apt set-up of its own, for one architecture, in folder.
type suite struct {
	name, archive, arch, folder string
}

// candidate is a kernel that a suite has.
type candidate struct {
	suite    suite
	release  string
	packages []pkg // to unpack over one another
}

func (c candidate) bytes() (n int64) {
	for _, p := range c.packages {
		n += p.sizeBytes
	}
	return n
}

// find returns the newest kernel of the series in the first suite that has any, and Newest of all the
// suites that are a first choice for that.
func find(ctx context.Context, root string, w wish, progress io.Writer) (candidate, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return candidate{}, fmt.Errorf("%w; kernels come from Debian's archive, which needs a Debian machine or a relative of it", err)
		}
	}
	var best candidate
	var failed []error // a suite may have moved, and another still has the kernel
	first, others := suiteOrder(w.series)
	if w.series == Newest {
		others = nil
	}
	for _, s := range append(first, others...) {
		s.arch, s.folder = w.arch, filepath.Join(root, "apt", s.name)
		if s.arch != "amd64" {
			s.folder += "-" + s.arch
		}
		c, err := s.find(ctx, w.series, progress)
		switch {
		case ctx.Err() != nil:
			return candidate{}, err
		case err != nil && !errors.Is(err, ErrSeries):
			failed = append(failed, err)
		case err != nil:
		case w.series != Newest:
			return c, nil
		case best.packages == nil || compareVersions(c.packages[0].version, best.packages[0].version) > 0:
			best = c
		}
	}
	if best.packages != nil {
		return best, nil
	}
	return candidate{}, errors.Join(append([]error{ErrSeries}, failed...)...)
}

// suiteOrder parts the suites into those that are a first choice for the series and the others.
func suiteOrder(series string) (first, others []suite) {
	for _, s := range suites {
		wanted := slices.ContainsFunc(strings.Fields(s.series), func(p string) bool {
			return series == p || strings.HasSuffix(p, ".") && strings.HasPrefix(series, p)
		})
		if wanted {
			first = append(first, suite{name: s.name, archive: s.archive})
		} else {
			others = append(others, suite{name: s.name, archive: s.archive})
		}
	}
	return first, others
}

func (s suite) find(ctx context.Context, series string, progress io.Writer) (candidate, error) {
	if err := os.MkdirAll(s.folder, 0o755); err != nil {
		return candidate{}, err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return candidate{}, err
	}
	defer unlock()
	fmt.Fprintf(progress, "looking for kernel %s for %s in Debian %s\n", series, s.arch, s.name)
	if err := s.update(ctx); err != nil {
		return candidate{}, err
	}
	prefix := "linux-image-"
	if series != Newest {
		prefix += series
	}
	out, err := s.run(ctx, "", "apt-cache", "pkgnames", prefix)
	if err != nil {
		return candidate{}, err
	}
	names := kernelNames(out, series, s.arch)
	if len(names) == 0 {
		return candidate{}, ErrSeries
	}
	all, err := s.show(ctx, names...)
	if err != nil {
		return candidate{}, err
	}
	// The archive forgets packages piece by piece: an older kernel may be whole
	// where the newest is not.
	slices.SortFunc(all, func(a, b pkg) int { return compareVersions(b.version, a.version) })
	for _, p := range all {
		c := candidate{suite: s, release: strings.TrimPrefix(p.name, "linux-image-"), packages: []pkg{p}}
		// Since 6.19 Debian's linux-image is empty and depends on where things are.
		parts := splitParts(p, c.release)
		if len(parts) == 0 {
			return c, nil
		}
		if c.packages, err = s.show(ctx, parts...); err == nil && len(c.packages) == len(parts) {
			return c, nil
		}
	}
	return candidate{}, fmt.Errorf("%s has no complete kernel %s: %w", s.name, series, ErrSeries)
}

// kernelNames picks the signed cloud kernels of the series from a list of packages, one a line.
func kernelNames(list []byte, series, arch string) (names []string) {
	version := regexp.QuoteMeta(series)
	if series == Newest {
		version = `[0-9]+\.[0-9]+`
	}
	pattern := regexp.MustCompile(`^linux-image-` + version + `[.+~-].*cloud-` + arch + `$`)
	for line := range strings.Lines(string(list)) {
		if name := strings.TrimSpace(line); pattern.MatchString(name) && !strings.Contains(name, "-rt-") {
			names = append(names, name)
		}
	}
	return names
}

// splitParts are the packages that have the files of p, if p itself is empty. A
// linux-base is one of them only then: elsewhere it just runs hooks.
func splitParts(p pkg, release string) (parts []string) {
	if !strings.Contains(p.depends, "linux-binary-"+release+" ") {
		return nil
	}
	for _, part := range []string{"linux-base-" + release, "linux-binary-" + release, "linux-modules-" + release} {
		if strings.Contains(p.depends, part+" ") {
			parts = append(parts, part)
		}
	}
	return parts
}
