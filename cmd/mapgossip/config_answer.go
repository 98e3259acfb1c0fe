package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/mapgossip/mapgossip"
)

// configAnswer answers /debug/config: each flag of the agent and its value in
// force. Keys are not in it.
type configAnswer map[string]any

// keyringAnswer is the value of --keyring. The JSON names are a contract.
type keyringAnswer struct {
	File string `json:"file"` // empty: no encryption
	Keys int    `json:"keys"` // in force
}

// configOf returns what the flags came to. The keys are counted by withKeys.
func configOf(o agentOptions) configAnswer {
	c := o.config
	replicated := []string{}
	for _, m := range c.Maps {
		replicated = append(replicated, fmt.Sprintf("%s=%s,direction=%s,events=%s,evict=%s", m.Name, m.Target,
			cmp.Or(m.Direction, mapgossip.DirectionBoth), cmp.Or(m.Events, mapgossip.EventsAll), cmp.Or(m.Evict, mapgossip.EvictLocal)))
	}
	scan := c.ScanInterval.String()
	if c.ScanInterval == 0 {
		scan = "30s, 1s where scan is the capture"
	}
	advertise := ""
	if c.Advertise.IsValid() {
		advertise = c.Advertise.String()
	}
	http := o.http.String()
	if o.http.off() {
		http = ""
	}
	return configAnswer{
		"map": replicated, "join": append([]string{}, c.Join...), "bind": c.Bind.String(), "advertise": advertise,
		"node": c.Node, "cluster": c.Cluster, "keyring": keyringAnswer{File: o.keyring}, "http": http,
		"capture": c.Capture, "scan-interval": scan, "sync-interval": c.SyncInterval.String(),
		"max-clock-skew": c.MaxClockSkew.String(), "tombstone-min-age": c.TombstoneMinAge.String(),
		"forget-after": c.ForgetAfter.String(), "state-dir": c.StateDir, "capture-pins": c.CapturePins,
		"log-level": strings.ToLower(o.level.String()), "log-format": o.logFormat,
	}
}

// withKeys adds how many keys are in force, which rotation changes. It asks the
// members, where there is a keyring.
func (a configAnswer) withKeys(ctx context.Context, n node) (configAnswer, error) {
	keyring, _ := a["keyring"].(keyringAnswer)
	if keyring.File == "" {
		return a, nil
	}
	members, err := n.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Self {
			keyring.Keys = len(m.Keys)
		}
	}
	whole := maps.Clone(a)
	whole["keyring"] = keyring
	return whole, nil
}
