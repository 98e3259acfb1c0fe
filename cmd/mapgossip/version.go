package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// build says which program this is. The JSON names are a contract.
type build struct {
	Version  string `json:"version"`  // of the module; devel where it has none
	Revision string `json:"revision"` // of the source; empty when unknown
	Modified bool   `json:"modified"` // the source was not as committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// maxVersionText keeps the version short enough for every member to be told.
const maxVersionText = 64

func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{Version: info.Main.Version, Go: info.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// short is what other members are told: v1.2.3, or devel-0123456789ab+dirty.
// At most 64 bytes.
func (b build) short() string {
	text := b.Version
	if text == "devel" && b.Revision != "" {
		text += "-" + b.Revision[:min(12, len(b.Revision))]
	}
	if b.Modified && !strings.HasSuffix(text, "+dirty") {
		text += "+dirty"
	}
	return text[:min(maxVersionText, len(text))]
}

// runVersion tells the version of this program. That of a running agent is in
// its status, those of the other members in members.
func runVersion(_ context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("version")
	if err := s.parse(args, env); err != nil {
		return err
	}
	format := s.oneOf("output", "table", "json")
	if len(s.faults) > 0 {
		return usage(s.faults[0])
	}
	b := readBuild()
	if format == "json" {
		text, err := json.MarshalIndent(b, "", "  ")
		if err != nil {
			return fmt.Errorf("encode version: %w", err)
		}
		_, err = fmt.Fprintf(stdout, "%s\n", text)
		return err
	}
	revision := ""
	if b.Revision != "" {
		revision = " revision " + b.Revision
	}
	_, err := fmt.Fprintf(stdout, "mapgossip %s%s %s %s\n", b.short(), revision, b.Go, b.Platform)
	return err
}
