package main

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestBuildOf(t *testing.T) {
	module := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	dirty := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for _, test := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{module(""), "devel"},
		{module("(devel)"), "devel"},
		{module("(devel)", revision), "devel-0123456789ab"},
		{module("(devel)", revision, dirty), "devel-0123456789ab+dirty"},
		{module("v1.2.3", revision), "v1.2.3"},
		{module("v1.2.3+dirty", revision, dirty), "v1.2.3+dirty"},
		{module(strings.Repeat("v", 99)), strings.Repeat("v", 64)},
	} {
		if got := buildOf(test.info).short(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.info.Main, got, test.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, word := range []string{"version", "--version"} {
		r := invoke(t, nil, word)
		if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "mapgossip devel") || !strings.Contains(r.stdout, runtime.Version()) {
			t.Errorf("%s: %+v", word, r)
		}
	}
	r := invoke(t, nil, "version", "-o", "json")
	var b build
	if err := json.Unmarshal([]byte(r.stdout), &b); err != nil || b != readBuild() {
		t.Errorf("%+v: %+v, %v", r, b, err)
	}
}
