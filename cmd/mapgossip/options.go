package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// agentOptions is what the flags of agent say.
type agentOptions struct {
	config    mapgossip.Config // without Logger
	http      endpoint         // zero: no endpoint
	keyring   string           // file; "": none
	check     bool
	level     slog.Level
	logFormat string // text or json
}

// parseAgent reads the flags of agent; the error holds all faults. It reads the
// keyring and the host name, and touches neither the kernel nor the network.
func parseAgent(args []string, env environment) (agentOptions, error) {
	s := settingsOf("agent")
	if err := s.parse(args, env); err != nil {
		return agentOptions{}, err
	}
	o := agentOptions{config: mapgossip.DefaultConfig()}
	c := &o.config
	c.Version = readBuild().short()
	c.Cluster = s.text("cluster")
	c.Capture = mapwatch.Mode(s.oneOf("capture", "auto", "fexit", "fentry", "scan"))
	c.ScanInterval = s.duration("scan-interval", 0)
	c.SyncInterval = s.duration("sync-interval", c.SyncInterval)
	c.MaxClockSkew = s.duration("max-clock-skew", c.MaxClockSkew)
	c.TombstoneMinAge = s.duration("tombstone-min-age", c.TombstoneMinAge)
	c.ForgetAfter = s.duration("forget-after", c.ForgetAfter)
	c.StateDir, c.CapturePins = s.text("state-dir"), s.text("capture-pins")
	s.maps(c)
	s.addresses(c)
	if c.Node = s.text("node"); c.Node == "" {
		var err error
		if c.Node, err = os.Hostname(); err != nil {
			s.fault("node", "", "%w: the host has no name; give --node ID", err)
		}
	}
	if o.keyring = s.text("keyring"); o.keyring != "" {
		var err error
		if c.Keyring, err = readKeyring(o.keyring); err != nil {
			s.faults = append(s.faults, err)
		}
	}
	var err error
	if o.http, err = parseEndpoint(s.text("http")); err != nil {
		s.fault("http", s.text("http"), "%w", err)
	}
	if err := o.level.UnmarshalText([]byte(s.oneOf("log-level", "debug", "info", "warn", "error"))); err != nil {
		return o, err
	}
	o.logFormat = s.oneOf("log-format", "text", "json")
	o.check = s.text("check") == "true"

	whole := *c
	if len(whole.Maps) == 0 { // told already: look at the rest with one that is right
		whole.Maps = []mapgossip.MapConfig{{Name: "any", Target: "id:1"}}
	}
	return o, usage(errors.Join(append(s.faults, whole.Validate())...))
}

func (s *settings) maps(c *mapgossip.Config) {
	list := s.list("map")
	for _, text := range list {
		m, err := mapgossip.ParseMap(text)
		if err != nil {
			s.faults = append(s.faults, err)
			continue
		}
		c.Maps = append(c.Maps, m)
	}
	if len(list) == 0 {
		s.faults = append(s.faults, errors.New("no map to replicate: give --map NAME=TARGET at least once"))
	}
}

func (s *settings) addresses(c *mapgossip.Config) {
	if text := s.text("bind"); text != "" {
		bind, err := parseAddress(text, mapgossip.DefaultPort)
		if err != nil {
			s.fault("bind", text, "%w", err)
		} else {
			c.Bind = bind
		}
	}
	if text := s.text("advertise"); text != "" {
		advertise, err := parseAddress(text, c.Bind.Port())
		switch {
		case err != nil:
			s.fault("advertise", text, "%w", err)
		case advertise.Addr().IsUnspecified():
			s.fault("advertise", text, "other members cannot dial it; give an address of this host")
		default:
			c.Advertise = advertise
		}
	}
	for _, seed := range s.list("join") {
		if _, _, err := splitHost(seed, mapgossip.DefaultPort); err != nil {
			s.fault("join", seed, "%w", err)
			continue
		}
		c.Join = append(c.Join, seed)
	}
}

// parseAddress reads IP, IP:PORT, [IPv6] or [IPv6]:PORT.
func parseAddress(text string, port uint16) (netip.AddrPort, error) {
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		return netip.AddrPortFrom(addr, port), nil
	}
	if both, err := netip.ParseAddrPort(text); err == nil {
		return both, nil
	}
	return netip.AddrPort{}, errors.New("want IP or IP:PORT, such as 192.0.2.1, 192.0.2.1:7946 or [2001:db8::1]:7946")
}

// splitHost reads HOST, HOST:PORT, IPv6, [IPv6] or [IPv6]:PORT.
func splitHost(text string, port uint16) (string, uint16, error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return addr.String(), port, nil
	}
	host, digits := text, ""
	if strings.Contains(text, ":") {
		var err error
		if host, digits, err = net.SplitHostPort(text); err != nil {
			return "", 0, errors.New("want HOST or HOST:PORT")
		}
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("port %q: want a number from 1 to 65535", digits)
		}
		port = uint16(n)
	}
	if host == "" || strings.ContainsAny(host, "/ \t\r\n[]@") {
		return "", 0, errors.New("want HOST or HOST:PORT")
	}
	return host, port, nil
}
