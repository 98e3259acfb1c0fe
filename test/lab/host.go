package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/test/lab/control"
	"github.com/mapgossip/mapgossip/test/lab/ether"
)

// ErrDown: the host is no longer there. The error's text has the last lines of its
// console.
var ErrDown = errors.New("host is down")

// Host is one machine of a lab: a guest under emulation, or a set of namespaces of this machine. Safe
// for concurrent use.
type Host struct {
	name    string
	addr    netip.Addr
	kernel  string // known once it is up
	console string
	control *control.Client
	port    *ether.Port

	stopping chan struct{} // closed by stop
	down     chan struct{} // closed when its process has ended
	err      error         // why; set before down is closed
	kill     func()        // its process
}

// Name is the host's name, which the other hosts know too.
func (h *Host) Name() string { return h.name }

// Addr is the host's address on the lab's network.
func (h *Host) Addr() netip.Addr { return h.addr }

// Kernel is the release of its kernel, as it says itself.
func (h *Host) Kernel() string { return h.kernel }

// ConsolePath is the file that has what the kernel and labinit said so far.
func (h *Host) ConsolePath() string { return h.console }

// Frames counts what went to and came from the host on the lab's network.
func (h *Host) Frames() ether.Counters { return h.port.Counters() }

// Down is closed when the host is no longer there; Err says why.
func (h *Host) Down() <-chan struct{} { return h.down }

// Err is nil while the host is up, then wraps ErrDown.
func (h *Host) Err() error {
	select {
	case <-h.down:
		return h.err
	default:
		return nil
	}
}

// ReadFile reads a whole file of the host. Errors are recognised by errors.Is as fs.ErrNotExist,
// fs.ErrPermission or ErrDown.
func (h *Host) ReadFile(ctx context.Context, path string) ([]byte, error) {
	b, err := h.control.ReadFile(ctx, path)
	return b, h.explain(err)
}

// WriteFile makes or replaces a file of the host, and the directories above it.
func (h *Host) WriteFile(ctx context.Context, path string, content []byte, mode os.FileMode) error {
	return h.explain(h.control.WriteFile(ctx, path, bytes.NewReader(content), mode))
}

// DialContext connects to an address as the host itself would: network is "tcp" or
// "unix", and the loopback is the host's. The connection does not use the lab's network, and has no half-close.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := h.control.DialContext(ctx, network, address)
	return c, h.explain(err)
}

// HTTPClient returns a client whose requests start on the host, so that
// http://127.0.0.1:8080/ is the host's own port 8080.
func (h *Host) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.DialContext, DisableKeepAlives: true}}
}

// Do runs a command and returns what it wrote to standard output.
func (h *Host) Do(ctx context.Context, argv ...string) (string, error) {
	b, err := h.Command(ctx, argv...).Output()
	return string(b), err
}

func (h *Host) copyIn(ctx context.Context, files map[string]string) error {
	for on, local := range files {
		f, err := os.Open(local)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil {
			err = h.control.WriteFile(ctx, on, f, st.Mode())
		}
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("put %s on host %s: %w", local, h.name, h.explain(err))
		}
	}
	return nil
}

// explain makes the death of the host the reason of an error when it is.
func (h *Host) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-h.control.Closed():
	default:
		return err
	}
	// The channel ends with the process, but not at the same instant.
	select {
	case <-h.down:
		return h.err
	case <-time.After(10 * time.Second):
		return fmt.Errorf("host %s: control channel ended: %w", h.name, err)
	}
}

// fatal are words of a kernel that says why it ends. A long trace may come after them.
var fatal = regexp.MustCompile(`Kernel panic|BUG:|Oops:|general protection fault|Out of memory:`)

// lastWords returns the end of a console: at most 30 lines, and the first of the fatal ones before them.
func lastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "(no console: " + err.Error() + ")"
	}
	defer f.Close()
	const tail = 64 << 10
	if st, err := f.Stat(); err == nil && st.Size() > tail {
		_, _ = f.Seek(-tail, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	text := strings.TrimSpace(strings.ReplaceAll(string(b), "\r", ""))
	if text == "" {
		return "(its console is empty)"
	}
	lines := strings.Split(text, "\n")
	before, end := lines[:max(0, len(lines)-30)], lines[max(0, len(lines)-30):]
	if i := slices.IndexFunc(before, fatal.MatchString); i >= 0 {
		end = append([]string{before[i], "…"}, end...)
	}
	return strings.Join(end, "\n")
}
