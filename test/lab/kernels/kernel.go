package kernels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrSeries: none of Debian's suites has a cloud kernel of that series.
var ErrSeries = errors.New("no such kernel")

// Kernel is one fetched kernel.
type Kernel struct {
	Series  string   // as asked for: "6.1", or Newest
	Arch    string   // as Debian and Go name it: "amd64"
	Release string   // as uname -r will print it: "6.1.0-50-cloud-amd64"
	Package string   // where it came from, with version and suite
	Image   string   // path of vmlinuz
	Modules []string // paths of uncompressed .ko files, in the order to load them
}

// manifest is the version file of a cached kernel. Format changes whenever an older
// folder would not do any more, such as when more modules are wanted.
type manifest struct {
	Format  int
	Release string
	Package string
	Modules []string // file names
}

const (
	format       = 1
	manifestName = "version.json"
	imageName    = "vmlinuz"
)

// Newest is, for a series, whichever is the newest that Debian offers (trixie-backports and sid). It is
// settled when that kernel is fetched: Release says which one it is.
const Newest = "newest"

var (
	seriesPattern = regexp.MustCompile(`^([0-9]+\.[0-9]+|` + Newest + `)$`)
	archPattern   = regexp.MustCompile(`^[a-z0-9]+$`)
)

// Fetch returns the cached kernel of a series such as "6.12" for an architecture such as "amd64", or
// fetches it first, saying so on progress (nil: silent). Safe for concurrent use by goroutines and by
// processes: one fetches, the others wait, or until ctx ends. Errors: ErrSeries, and what apt says.
func Fetch(ctx context.Context, series, arch string, progress io.Writer) (Kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Kernel{}, fmt.Errorf("find a place for kernels: %w; set XDG_CACHE_HOME", err)
	}
	if progress == nil {
		progress = io.Discard
	}
	return fetch(ctx, filepath.Join(cache, "mapgossip", "kernels"), wish{series, arch}, progress)
}

// wish is a kernel that is asked for.
type wish struct{ series, arch string }

// folder is the name of its place in the cache.
func (w wish) folder() string {
	if w.arch == "amd64" {
		return w.series
	}
	return w.series + "-" + w.arch
}

func fetch(ctx context.Context, root string, w wish, progress io.Writer) (Kernel, error) {
	if !seriesPattern.MatchString(w.series) {
		return Kernel{}, fmt.Errorf("fetch kernel %q: %w; a series looks like 6.1 or 6.12, or is %q", w.series, ErrSeries, Newest)
	}
	if !archPattern.MatchString(w.arch) {
		return Kernel{}, fmt.Errorf("fetch kernel %s: architecture %q: %w", w.series, w.arch, ErrSeries)
	}
	folder := filepath.Join(root, w.folder())
	k, err := load(folder, w)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Kernel{}, fmt.Errorf("make kernel cache: %w", err)
	}
	unlock, err := lock(ctx, folder+".lock")
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	k, err = load(folder, w)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := download(ctx, root, w, progress); err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel %s for %s: %w", w.series, w.arch, err)
	}
	return load(folder, w)
}

// load reads a cached kernel; fs.ErrNotExist when it is not there or of another format.
func load(folder string, w wish) (Kernel, error) {
	b, err := os.ReadFile(filepath.Join(folder, manifestName))
	if err != nil {
		return Kernel{}, err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Kernel{}, fmt.Errorf("read %s: %w; delete that folder to fetch it anew", folder, err)
	}
	if m.Format != format {
		return Kernel{}, fs.ErrNotExist
	}
	k := Kernel{Series: w.series, Arch: w.arch, Release: m.Release, Package: m.Package, Image: filepath.Join(folder, imageName)}
	for _, name := range m.Modules {
		k.Modules = append(k.Modules, filepath.Join(folder, name))
	}
	return k, nil
}

// download puts the newest kernel of the series into the cache.
func download(ctx context.Context, root string, w wish, progress io.Writer) error {
	found, err := find(ctx, root, w, progress)
	if err != nil {
		return err
	}
	// The lock is ours, so what is there was left by one that was killed.
	stale, _ := filepath.Glob(filepath.Join(root, w.folder()+".incoming-*"))
	for _, folder := range stale {
		_ = os.RemoveAll(folder)
	}
	work, err := os.MkdirTemp(root, w.folder()+".incoming-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fmt.Fprintf(progress, "fetching Debian kernel %s (%s from %s, %.0f MB; once, kept in %s)\n",
		w.series, found.release, found.suite.name, float64(found.bytes())/1e6, root)
	tree := filepath.Join(work, "tree")
	for _, p := range found.packages {
		if err := found.suite.unpack(ctx, p, work, tree); err != nil {
			return err
		}
	}
	ready := filepath.Join(work, "ready")
	if err := os.Mkdir(ready, 0o755); err != nil {
		return err
	}
	m := manifest{Format: format, Release: found.release}
	for _, p := range found.packages {
		m.Package = strings.TrimPrefix(m.Package+", "+p.name+" "+p.version, ", ")
	}
	m.Package += " (" + found.suite.name + ")"
	image, err := oneOf(tree,
		"boot/vmlinuz-"+found.release, "usr/lib/modules/"+found.release+"/vmlinuz", "lib/modules/"+found.release+"/vmlinuz")
	if err != nil {
		return fmt.Errorf("find the kernel image in %s: %w", m.Package, err)
	}
	if err := os.Rename(image, filepath.Join(ready, imageName)); err != nil {
		return err
	}
	modules, err := oneOf(tree, "usr/lib/modules/"+found.release, "lib/modules/"+found.release)
	if err != nil {
		return fmt.Errorf("find the modules in %s: %w", m.Package, err)
	}
	if m.Modules, err = takeModules(modules, ready); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(ready, manifestName), append(b, '\n'), 0o644); err != nil {
		return err
	}
	folder := filepath.Join(root, w.folder())
	if err := os.RemoveAll(folder); err != nil { // of another format
		return err
	}
	return os.Rename(ready, folder)
}

// oneOf returns the first of the names that exists below folder.
func oneOf(folder string, names ...string) (string, error) {
	for _, name := range names {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", strings.Join(names, ", "), fs.ErrNotExist)
}
