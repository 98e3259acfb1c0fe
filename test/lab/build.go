package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	initPackage  = "github.com/mapgossip/mapgossip/test/cmd/labinit"
	initVariable = "MAPGOSSIP_LABINIT" // names a labinit to use
)

// Build compiles a Go package of this module to a program that runs on any host of this machine's
// architecture: static. arguments are of go build, or of go test when the first is "test" ("test", "-c"
// is implied). Call it with a working directory inside the module.
func Build(ctx context.Context, to, pkg string, arguments ...string) error {
	return BuildFor(ctx, runtime.GOARCH, to, pkg, arguments...)
}

// BuildFor is Build for hosts of another architecture, as in HostConfig.Arch.
func BuildFor(ctx context.Context, arch, to, pkg string, arguments ...string) error {
	line := []string{"build"}
	if len(arguments) > 0 && arguments[0] == "test" {
		line, arguments = []string{"test", "-c"}, arguments[1:]
	}
	line = append(line, "-trimpath", "-ldflags=-s -w", "-o", to)
	cmd := exec.CommandContext(ctx, "go", append(append(line, arguments...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// findInits returns a labinit for each architecture of the hosts.
func findInits(ctx context.Context, hosts []HostConfig, folder string) (map[string]string, error) {
	inits := make(map[string]string)
	for _, h := range hosts {
		if inits[h.Arch] != "" {
			continue
		}
		path, err := findInit(ctx, h.Arch, folder)
		if err != nil {
			return nil, err
		}
		inits[h.Arch] = path
	}
	return inits, nil
}

// findInit puts a labinit into folder and returns its path there, or, for this machine's architecture, the
// one that the environment names. It is linked anew each time, but when nothing has changed that is a look
// at the last one.
func findInit(ctx context.Context, arch, folder string) (string, error) {
	name := "labinit"
	if arch != runtime.GOARCH {
		name += "-" + arch
	} else if path := os.Getenv(initVariable); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for labinit: %w; set XDG_CACHE_HOME", err)
	}
	cache = filepath.Join(cache, "mapgossip")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	last := filepath.Join(cache, name)
	if err := BuildFor(ctx, arch, last, initPackage); err != nil {
		return "", err
	}
	// A copy, because another lab may build it again while this one starts.
	b, err := os.ReadFile(last)
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err // of an earlier lab in the same folder; it may still run
	}
	return path, os.WriteFile(path, b, 0o755)
}
