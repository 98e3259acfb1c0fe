package kernels

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

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
	options := "arch=" + s.arch
	if k, err := oneOf("/", keyrings...); err == nil {
		options += " signed-by=" + k
	}
	line := fmt.Sprintf("deb [%s] %s %s main\n", options, mirror("/etc/apt", s.archive), s.name)
	if err := os.WriteFile(filepath.Join(s.folder, "sources.list"), []byte(line), 0o644); err != nil {
		return err
	}
	_, err := s.run(ctx, "", "apt-get", "-qq", "--error-on=any", "update")
	return err
}

func (s suite) lock(ctx context.Context) (unlock func(), err error) {
	return lock(ctx, filepath.Join(s.folder, "mapgossip.lock"))
}

// unpack downloads p into work and unpacks it below tree. The lock keeps the lists as they are:
// another series may be looked for in the same suite.
func (s suite) unpack(ctx context.Context, p pkg, work, tree string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
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
			"-o", "APT::Architecture=" + s.arch,
			"-o", "APT::Architectures::=" + s.arch,
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
