// Package stage brings a lab and what runs on its hosts: the agent, the tool
// labmap and the XDP program. The demo and the end-to-end tests stand on it.
package stage

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/mapgossip/mapgossip/test/lab"
)

// The XDP program of the demo and of the tests. Its map is a hash map that
// they pin beforehand.

//go:generate clang-14 -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu -fdebug-compilation-dir=. -c ../../bpf/flows.bpf.c -o flows.bpf.o
//go:generate llvm-strip-14 -g flows.bpf.o

//go:embed flows.bpf.o
var flows []byte

// Programs is the variable that names a folder with built programs, for a
// machine without Go: a guest that is itself the lab.
const Programs = "MAPGOSSIP_PROGRAMS"

// Kernels are the series that every end-to-end test and the demo run on, a
// host each.
func Kernels() []string { return []string{"6.1", "6.12", "6.18"} }

// Host describes the i-th host: its name and kernel.
func Host(i int) lab.HostConfig {
	return lab.HostConfig{Name: []string{"alpha", "beta", "gamma"}[i], Kernel: Kernels()[i]}
}

// Files builds what runs on hosts into folder and returns it as lab.Config
// wants it.
func Files(ctx context.Context, folder string, progress io.Writer) (map[string]string, error) {
	object := filepath.Join(folder, "flows.bpf.o")
	if err := os.WriteFile(object, flows, 0o644); err != nil {
		return nil, err
	}
	files := map[string]string{"/lab/flows.bpf.o": object}
	for name, pkg := range map[string]string{
		"mapgossip": "github.com/mapgossip/mapgossip/cmd/mapgossip",
		"labmap":    "github.com/mapgossip/mapgossip/test/cmd/labmap",
	} {
		binary := filepath.Join(os.Getenv(Programs), name)
		if os.Getenv(Programs) == "" {
			binary = filepath.Join(folder, name)
			fmt.Fprintf(progress, "building %s\n", name)
			if err := lab.Build(ctx, binary, pkg); err != nil {
				return nil, err
			}
		}
		files["/lab/"+name] = binary
	}
	return files, nil
}

// Open installs what is missing, builds, and starts a lab of hosts, with extra
// files beside the usual ones.
func Open(ctx context.Context, folder string, progress io.Writer, extra map[string]string, hosts ...lab.HostConfig) (*lab.Lab, error) {
	programs := []string{"bpftool", "setpriv", "busybox"}
	if err := lab.Install(ctx, progress, programs...); err != nil {
		return nil, err
	}
	files, err := Files(ctx, folder, progress)
	if err != nil {
		return nil, err
	}
	maps.Copy(files, extra)
	return lab.New(ctx, lab.Config{Hosts: hosts, Files: files, Programs: programs, Progress: progress})
}
