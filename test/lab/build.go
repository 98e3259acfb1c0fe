package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	initPackage  = "github.com/mapgossip/mapgossip/test/cmd/labinit"
	initVariable = "MAPGOSSIP_LABINIT" // names a labinit to use
)

// Build compiles a Go package of this module to a program that runs on any host: static,
// for x86-64. arguments are of go build, or of go test when the first is "test" ("test", "-c" is implied).
// Call it with a working directory inside the module.
func Build(ctx context.Context, to, pkg string, arguments ...string) error {
	line := []string{"build"}
	if len(arguments) > 0 && arguments[0] == "test" {
		line, arguments = []string{"test", "-c"}, arguments[1:]
	}
	line = append(line, "-trimpath", "-ldflags=-s -w", "-o", to)
	cmd := exec.CommandContext(ctx, "go", append(append(line, arguments...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// findInit puts a labinit into folder and returns its path there, or the one that the environment
// names. It is linked anew each time, but when nothing has changed that is a look at the last one.
func findInit(ctx context.Context, folder string) (string, error) {
	if path := os.Getenv(initVariable); path != "" {
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
	lock, err := os.OpenFile(filepath.Join(cache, "labinit.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	last := filepath.Join(cache, "labinit")
	if err := Build(ctx, last, initPackage); err != nil {
		return "", err
	}
	// A copy, because another lab may build it again while this one starts.
	b, err := os.ReadFile(last)
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "labinit")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err // of an earlier lab in the same folder; it may still run
	}
	return path, os.WriteFile(path, b, 0o755)
}
