package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mapgossip/mapgossip/test/lab/ether"
)

// Lab is a number of running hosts on one switch. Safe for concurrent use.
type Lab struct {
	mode      Mode
	folder    string
	temporary bool
	network   *ether.Switch
	hosts     []*Host
}

// New starts the hosts and returns when all of them answer. ctx bounds the start only. What is
// missing on this machine is an error that names Install; kernels are fetched.
func New(ctx context.Context, c Config) (l *Lab, err error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("start lab: %w", err)
	}
	c = c.withDefaults()
	l = &Lab{folder: c.Folder}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start lab: %w", errors.Join(err, l.Close()))
			l = nil
		}
	}()
	if l.mode, err = choose(c); err != nil {
		return l, err
	}
	if l.folder == "" {
		l.temporary = true
		l.folder, err = os.MkdirTemp("", "mapgossip-lab-")
	} else {
		err = os.MkdirAll(l.folder, 0o755)
	}
	if err != nil {
		return l, err
	}
	begin := time.Now()
	inits, err := findInits(ctx, c.Hosts, l.folder)
	if err != nil {
		return l, err
	}
	plans, err := l.plan(ctx, c, inits)
	if err != nil {
		return l, err
	}
	fmt.Fprintf(c.Progress, "starting %d hosts (%s)\n", len(plans), l.mode)
	l.network = ether.NewSwitch(c.Seed)
	for _, p := range plans {
		h, err := startHost(p, l.network)
		if err != nil {
			return l, err
		}
		l.hosts = append(l.hosts, h)
	}
	// Whichever fails first is the reason; the others are not waited for.
	group, ctx := errgroup.WithContext(ctx)
	for i := range l.hosts {
		group.Go(func() error {
			err := l.hosts[i].awaitUp(ctx)
			if errors.Is(err, ErrDown) && l.mode == Guests && ctx.Err() == nil {
				fmt.Fprintf(c.Progress, "%s went down while it booted, and is booted once more: %v\n", plans[i].Name, err)
				again, failed := startHost(plans[i].again(), l.network)
				if failed != nil {
					return failed
				}
				l.hosts[i], err = again, again.awaitUp(ctx)
			}
			if err != nil {
				return err
			}
			h := l.hosts[i]
			if l.mode == Native {
				return h.copyIn(ctx, c.Files)
			}
			return h.checkBoot(ctx, c.Hosts[i])
		})
	}
	if err := group.Wait(); err != nil {
		return l, err
	}
	var kernels []string
	for _, h := range l.hosts {
		kernels = append(kernels, h.name+" "+h.kernel)
	}
	fmt.Fprintf(c.Progress, "up in %.1f s: %s\n", time.Since(begin).Seconds(), strings.Join(kernels, ", "))
	return l, nil
}

// plan says how each host is started, all but the descriptors.
func (l *Lab) plan(ctx context.Context, c Config, inits map[string]string) ([]plan, error) {
	var names []string
	addr := c.Network.Addr()
	plans := make([]plan, len(c.Hosts))
	for i, h := range c.Hosts {
		addr = addr.Next()
		plans[i] = plan{
			HostConfig: h,
			prefix:     netip.PrefixFrom(addr, c.Network.Bits()),
			console:    filepath.Join(l.folder, h.Name+".console"),
		}
		names = append(names, h.Name+"="+addr.String())
	}
	images := make(map[system]guestImage)
	frequency := 0
	if l.mode == Guests {
		frequency = kilohertz()
		var err error
		if images, err = buildImages(ctx, c, inits, l.folder); err != nil {
			return nil, err
		}
	}
	for i := range plans {
		p := &plans[i]
		p.settings = []string{"lab.name=" + p.Name, "lab.addr=" + p.prefix.String(), "lab.hosts=" + strings.Join(names, ",")}
		if l.mode == Guests {
			p.command = guestCommand(*p, images[p.system()], frequency)
		} else {
			p.command = namespaceCommand(*p, inits[p.Arch])
		}
	}
	return plans, nil
}

// Mode is Guests or Native.
func (l *Lab) Mode() Mode { return l.mode }

// Folder has the hosts' consoles, NAME.console.
func (l *Lab) Folder() string { return l.folder }

// Hosts are in the order of Config.Hosts. The slice is the caller's.
func (l *Lab) Hosts() []*Host { return append([]*Host(nil), l.hosts...) }

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Close stops the hosts and everything that runs on them, as if their power failed, waits until nothing is left,
// and removes the temporary folder. Idempotent; not to be called concurrently with itself.
func (l *Lab) Close() error {
	for _, h := range l.hosts {
		h.stop()
	}
	for _, h := range l.hosts {
		<-h.down
	}
	if l.network != nil {
		_ = l.network.Close()
	}
	if l.temporary {
		return os.RemoveAll(l.folder)
	}
	return nil
}
