package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// Mode is what a lab's hosts are.
type Mode string

const (
	Auto   Mode = ""       // native where that is possible, else guests
	Guests Mode = "guests" // machines under emulation
	Native Mode = "native" // namespaces of this machine
)

// modeVariable in the environment overrides Config.Mode.
const modeVariable = "MAPGOSSIP_LAB"

// Config describes a lab. Start from it as a literal: zero fields have defaults.
type Config struct {
	Hosts []HostConfig // at least one

	// Files are put into every host: path on the host, below /lab, to a local file, whose mode
	// they keep. /lab comes first in the PATH of commands.
	Files map[string]string

	// Programs of this machine are there on every host with their shared libraries, at
	// the same path: "bpftool", "ip". Busybox brings its applets along, in guests. Native hosts see all of
	// this machine's programs anyway.
	Programs []string

	Mode     Mode
	Network  netip.Prefix // default 10.77.0.0/24
	Seed     uint64       // of losses and jitters on the network
	Folder   string       // for consoles and images, kept; default: a temporary one, removed by Close
	Progress io.Writer    // sentences on what takes time, one a line; default: silent
}

// HostConfig describes one host.
type HostConfig struct {
	Name     string // host name; letters, digits and dashes
	Kernel   string // series: "5.10", "6.1", "6.12", "6.18", or kernels.Newest; native hosts have this machine's
	Arch     string // "amd64" or "arm64", as Go names them; default: this machine's. Others are guests only
	CPUs     int    // guests only; default 2
	MemoryMB int    // guests only; default 768
	Words    string // guests only: more for the kernel's command line

	// Preempt and Lockdown are guests only. New fails with ErrPreempt or ErrLockdown where the
	// kernel does not do as it is told.
	Preempt  Preempt
	Lockdown Lockdown
}

// sharedWriter lets several goroutines write whole sentences.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	defaultNetwork = netip.MustParsePrefix("10.77.0.0/24")
)

// withDefaults fills what is zero and applies the environment.
func (c Config) withDefaults() Config {
	if !c.Network.IsValid() {
		c.Network = defaultNetwork
	}
	c.Network = c.Network.Masked()
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	c.Progress = &sharedWriter{w: c.Progress}
	if m := os.Getenv(modeVariable); m != "" {
		c.Mode = Mode(m)
	}
	c.Hosts = append([]HostConfig(nil), c.Hosts...)
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if h.CPUs == 0 {
			h.CPUs = 2
		}
		if h.MemoryMB == 0 {
			h.MemoryMB = 768
		}
		if h.Arch == "" {
			h.Arch = runtime.GOARCH
		}
	}
	return c
}

// Validate reports all faults at once. New calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Hosts) == 0 {
		fault("lab without hosts")
	}
	if !c.Network.Addr().Is4() || c.Network.Bits() > 30 {
		fault("network %s: want IPv4 with room for hosts", c.Network)
	} else if room := 1<<(32-c.Network.Bits()) - 2; len(c.Hosts) > min(room, 250) {
		fault("%d hosts: network %s has room for %d", len(c.Hosts), c.Network, min(room, 250))
	}
	switch c.Mode {
	case Auto, Guests, Native:
	default:
		fault("mode %q: want %s or %s (also in %s)", c.Mode, Guests, Native, modeVariable)
	}
	seen := make(map[string]bool)
	for _, h := range c.Hosts {
		if !namePattern.MatchString(h.Name) {
			fault("host name %q: want letters a-z, digits and dashes, at most 32", h.Name)
		}
		if seen[h.Name] {
			fault("host name %q: given twice", h.Name)
		}
		seen[h.Name] = true
		if h.Kernel == "" && c.Mode != Native {
			fault("host %s: no kernel series given; try 6.12", h.Name)
		}
		if _, found := emulatorOf(h.Arch); !found && h.Arch != runtime.GOARCH {
			fault("host %s: architecture %q: want amd64 or arm64", h.Name, h.Arch)
		}
		if h.Arch != runtime.GOARCH && c.Mode == Native {
			fault("host %s: namespaces of this machine are %s, not %s", h.Name, runtime.GOARCH, h.Arch)
		}
		if h.Arch != runtime.GOARCH && len(c.Programs) > 0 {
			fault("host %s: this machine's programs (%s) do not run on %s", h.Name, strings.Join(c.Programs, ", "), h.Arch)
		}
		if !h.Preempt.valid() {
			fault("host %s: preemption %q: want none, voluntary, full or lazy", h.Name, h.Preempt)
		}
		if !h.Lockdown.valid() {
			fault("host %s: lockdown %q: want integrity or confidentiality", h.Name, h.Lockdown)
		}
		if h.Preempt != PreemptOwn && h.Lockdown != LockdownNone {
			fault("host %s: a kernel in lockdown does not tell how it preempts: want preemption %s or lockdown %s, not both", h.Name, h.Preempt, h.Lockdown)
		}
		if c.Mode == Native && (h.Preempt != "" || h.Lockdown != "") {
			fault("host %s: namespaces have this machine's kernel as it runs: preemption and lockdown are for guests", h.Name)
		}
		if h.CPUs < 1 || h.MemoryMB < 256 {
			fault("host %s: want at least 1 CPU and 256 MB, have %d and %d", h.Name, h.CPUs, h.MemoryMB)
		}
	}
	for on, local := range c.Files {
		if path.Clean(on) != on || !strings.HasPrefix(on, "/lab/") {
			fault("file %q: want a clean path below /lab/ on the host", on)
		}
		if st, err := os.Stat(local); err != nil {
			faults = append(faults, fmt.Errorf("file %s: %w", on, err))
		} else if !st.Mode().IsRegular() {
			fault("file %s: %s is not a regular file", on, local)
		}
	}
	return errors.Join(faults...)
}
