package kernels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// suites are where kernels are looked for, with the series that each is the first
// choice for. The others are asked after it, in this order: small lists first.
var suites = []struct {
	name   string
	series string // prefix of the series; several, by spaces
}{
	{"bookworm-backports", "6.12"},
	{"trixie-backports", "6.16 6.17 6.18 6.19 7."},
	{"bookworm", "6.1"},
	{"trixie", ""},
	{"bullseye", "5.10"},
}

// keyrings are where Debian's archive keys are, by release of the machine.
var keyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.pgp",
	"/usr/share/keyrings/debian-archive-keyring.gpg",
}

// pkg is one version of a binary package.
type pkg struct {
	name, version string
	sizeBytes     int64
	depends       string
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

// find returns the newest kernel of the series in the first suite that has any.
func find(ctx context.Context, root, series string, progress io.Writer) (candidate, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return candidate{}, fmt.Errorf("%w; kernels come from Debian's archive, which needs a Debian machine or a relative of it", err)
		}
	}
	for _, name := range suiteOrder(series) {
		s := suite{name: name, folder: filepath.Join(root, "apt", name)}
		c, err := s.find(ctx, series, progress)
		if !errors.Is(err, ErrSeries) {
			return c, err
		}
	}
	return candidate{}, ErrSeries
}

func suiteOrder(series string) (names []string) {
	var others []string
	for _, s := range suites {
		first := false
		for _, p := range strings.Fields(s.series) {
			first = first || series == p || strings.HasSuffix(p, ".") && strings.HasPrefix(series, p)
		}
		if first {
			names = append(names, s.name)
		} else {
			others = append(others, s.name)
		}
	}
	return append(names, others...)
}

// suite is one release of Debian with an apt set-up of its own in folder.
type suite struct {
	name, folder string
}

func (s suite) find(ctx context.Context, series string, progress io.Writer) (candidate, error) {
	if err := os.MkdirAll(s.folder, 0o755); err != nil {
		return candidate{}, err
	}
	unlock, err := lock(ctx, filepath.Join(s.folder, "mapgossip.lock"))
	if err != nil {
		return candidate{}, err
	}
	defer unlock()
	fmt.Fprintf(progress, "looking for kernel %s in Debian %s\n", series, s.name)
	if err := s.update(ctx); err != nil {
		return candidate{}, err
	}
	out, err := s.run(ctx, "", "apt-cache", "pkgnames", "linux-image-"+series)
	if err != nil {
		return candidate{}, err
	}
	names := kernelNames(out, series)
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
func kernelNames(list []byte, series string) (names []string) {
	pattern := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `[.+~-].*cloud-amd64$`)
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

func (s suite) show(ctx context.Context, names ...string) ([]pkg, error) {
	out, err := s.run(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	return parseShow(out)
}

// parseShow reads what apt-cache show prints.
func parseShow(out []byte) (all []pkg, err error) {
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		var p pkg
		for line := range strings.Lines(stanza) {
			field, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			switch field {
			case "Package":
				p.name = value
			case "Version":
				p.version = value
			case "Depends":
				p.depends = value + " "
			case "Size":
				if p.sizeBytes, err = strconv.ParseInt(value, 10, 64); err != nil {
					return nil, fmt.Errorf("read the package list: size %q", value)
				}
			}
		}
		if p.name != "" && p.version != "" {
			all = append(all, p)
		}
	}
	return all, nil
}

func (s suite) update(ctx context.Context) error {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(s.folder, sub), 0o755); err != nil {
			return err
		}
	}
	signed := ""
	if k, err := oneOf("/", keyrings...); err == nil {
		signed = "[signed-by=" + k + "] "
	}
	line := fmt.Sprintf("deb %s%s %s main\n", signed, mirror("/etc/apt"), s.name)
	if err := os.WriteFile(filepath.Join(s.folder, "sources.list"), []byte(line), 0o644); err != nil {
		return err
	}
	_, err := s.run(ctx, "", "apt-get", "-qq", "--error-on=any", "update")
	return err
}

// unpack downloads p into work and unpacks it below tree.
func (s suite) unpack(ctx context.Context, p pkg, work, tree string) error {
	if _, err := s.run(ctx, work, "apt-get", "-qq", "download", p.name+"="+p.version); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(work, p.name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("download %s: found %d files: %w", p.name, len(found), err)
	}
	if _, err := s.run(ctx, work, "dpkg", "-x", found[0], tree); err != nil {
		return err
	}
	return os.Remove(found[0])
}

// run runs a tool of apt on the suite's own set-up, and dpkg as it is.
func (s suite) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	if tool != "dpkg" {
		args = append([]string{
			"-o", "Dir::Etc::sourcelist=" + filepath.Join(s.folder, "sources.list"),
			"-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "Dir::State::lists=" + filepath.Join(s.folder, "lists"),
			"-o", "Dir::Cache=" + filepath.Join(s.folder, "cache"),
			"-o", "APT::Architecture=amd64",
			"-o", "APT::Architectures::=amd64",
			"-o", "APT::Sandbox::User=root", // the folders are the caller's, and closed to _apt
			"-o", "Acquire::Languages=none",
			"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
			"-o", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
			"-o", "Acquire::Retries=3",
		}, args...)
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%s for Debian %s: %w: %s", tool, s.name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
