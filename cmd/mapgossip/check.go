package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

const resolveTimeout = 5 * time.Second // for all seeds together

// check does what the agent does before it sends anything, undoes it, and
// prints what it found. The error holds every fault. A seed that does not
// resolve is none: the agent tries it for ever.
func check(ctx context.Context, o agentOptions, stdout io.Writer) error {
	c := o.config
	rows := table{}
	row := func(label, text string) { rows = append(rows, []string{label, text}) }

	var faults []error
	seen, err := checkNode(c)
	if err != nil {
		faults = append(faults, err)
	}
	for _, m := range c.Maps {
		if shape, ok := seen.maps[m.Target]; ok {
			row("map", fmt.Sprintf("%s: %s (%s)", m.Name, m.Target, shapeText(shape)))
		}
	}
	if seen.mode != "" {
		row("capture", string(seen.mode)+because(seen.reason))
	}
	switch {
	case err == nil:
		row("member", fmt.Sprintf("%s of cluster %s, %s", c.Node, c.Cluster, encryption(c.Keyring)))
		row("bind", fmt.Sprintf("%s: TCP and UDP are free%s", c.Bind, advertised(c.Advertise)))
	case seen.mode != "":
		row("bind", fmt.Sprintf("%s: see the errors", c.Bind))
	default:
		row("bind", fmt.Sprintf("%s: not tried, because of what is before it", c.Bind))
	}
	if c.StateDir != "" {
		if err := mapgossip.CheckStateDir(c.StateDir); err != nil {
			faults = append(faults, err)
		} else {
			row("state", c.StateDir+": can be used")
		}
	}
	if c.CapturePins != "" {
		row("pins", c.CapturePins+": not tried: capture would stay there")
	}
	for _, seed := range c.Join {
		row("join", seed+": "+resolve(ctx, seed))
	}
	if o.http.off() {
		row("http", "off")
	} else if listener, err := o.http.listen(); err != nil {
		faults = append(faults, err)
	} else {
		listener.Close()
		row("http", o.http.String()+": free")
	}
	if len(faults) == 0 {
		row("result", "ready to run; nothing was sent, nothing was changed")
	} else {
		row("result", "the agent would not start: see the errors")
	}
	rows.write(stdout, "")
	return errors.Join(faults...)
}

// checkNode makes the agent's Node and closes it. What it got to see of the
// kernel is told even when the Node could not be made.
func checkNode(c mapgossip.Config) (observer, error) {
	host, err := mapwatch.OpenHost()
	if err != nil {
		return observer{}, err
	}
	defer host.Close()
	c.Logger = nil                     // what it would log is in the answer
	c.StateDir, c.CapturePins = "", "" // they would be changed
	seen := observer{Kernel: host, maps: make(map[string]mapwatch.Shape)}
	c.Kernel = &seen
	node, err := mapgossip.New(c)
	if err != nil {
		return seen, err
	}
	return seen, node.Close()
}

// observer notes what a Node is shown of the kernel. One goroutine uses it.
type observer struct {
	mapwatch.Kernel
	maps   map[string]mapwatch.Shape // by target
	mode   mapwatch.Mode
	reason string
}

func (o *observer) Open(target string) (mapwatch.Map, error) {
	m, err := o.Kernel.Open(target)
	if err == nil {
		o.maps[target] = m.Shape()
	}
	return m, err
}

func (o *observer) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	w, err := o.Kernel.Watch(maps, options)
	if err == nil {
		o.mode, o.reason = w.Mode(), w.Reason()
	}
	return w, err
}

// resolve tells what a seed stands for at present.
func resolve(ctx context.Context, seed string) string {
	host, port, err := splitHost(seed, mapgossip.DefaultPort)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return fmt.Sprintf("%v at present; it is tried for ever", innermost(err))
	}
	var texts []string
	for _, a := range addrs {
		texts = append(texts, netip.AddrPortFrom(a.Unmap(), port).String())
	}
	return strings.Join(texts, ", ")
}

func shapeText(m mapwatch.Shape) string {
	return fmt.Sprintf("%s, id %d, key %d bytes, value %d bytes, at most %d entries", m.Type, m.ID, m.KeyBytes, m.ValueBytes, m.MaxEntries)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ", because " + reason
}

func encryption(keyring [][]byte) string {
	switch len(keyring) {
	case 0:
		return "not encrypted (--keyring)"
	case 1:
		return "encrypted by 1 key"
	}
	return fmt.Sprintf("encrypted by the first of %d keys", len(keyring))
}

func advertised(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return fmt.Sprintf("; other members dial %s", a)
}
