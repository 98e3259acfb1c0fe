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
	waiting := 0 // maps that are not there
	seen, err := checkNode(c)
	if err != nil {
		faults = append(faults, err)
	}
	for _, m := range c.Maps {
		if shape, ok := seen.maps[m.Target]; ok {
			row("map", fmt.Sprintf("%s: %s (%s)", m.Name, m.Target, shapeText(shape)))
		} else if err == nil {
			row("map", fmt.Sprintf("%s: the agent would wait for it: %v", m.Name, seen.missing[m.Target]))
			waiting++
		}
	}
	for _, how := range seen.captures {
		row("capture", how)
	}
	if err == nil && len(seen.captures) == 0 {
		row("capture", "not tried: there is no map yet")
	}
	switch {
	case err == nil:
		row("member", fmt.Sprintf("%s of cluster %s, %s", c.Node, c.Cluster, encryption(c.Keyring)))
		row("bind", fmt.Sprintf("%s: TCP and UDP are free%s", c.Bind, advertised(c.Advertise)))
	case len(seen.captures) > 0:
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
	switch {
	case len(faults) > 0:
		row("result", "the agent would not start: see the errors")
	case waiting > 0:
		row("result", fmt.Sprintf("the agent would start, and wait for %d of %d maps; nothing was sent, nothing was changed", waiting, len(c.Maps)))
	default:
		row("result", "ready to run; nothing was sent, nothing was changed")
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
	seen := observer{Kernel: host, maps: make(map[string]mapwatch.Shape), missing: make(map[string]error)}
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
	maps     map[string]mapwatch.Shape // by target
	missing  map[string]error          // by target
	captures []string                  // how, and which maps if not all
}

func (o *observer) Open(target string) (mapwatch.Map, error) {
	m, err := o.Kernel.Open(target)
	if err == nil {
		o.maps[target] = m.Shape()
	} else {
		o.missing[target] = err
	}
	return m, err
}

func (o *observer) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	w, err := o.Kernel.Watch(maps, options)
	if err != nil {
		return w, err
	}
	targets := make(map[string][]string)
	for i, m := range maps {
		mode, reason := w.Capture(i)
		how := string(mode) + because(reason)
		if targets[how] == nil {
			o.captures = append(o.captures, how)
		}
		targets[how] = append(targets[how], m.Shape().Target)
	}
	if len(o.captures) > 1 {
		for i, how := range o.captures {
			o.captures[i] = strings.Join(targets[how], ", ") + ": " + how
		}
	}
	return w, nil
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
