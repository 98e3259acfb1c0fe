package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSettings(t *testing.T) {
	line := "console=ttyS0 quiet lab.name=a lab.addr=10.77.0.1/24 lab.hosts=a=10.77.0.1,b=10.77.0.2 lab.unknown=x"
	got := parseSettings(strings.Fields(line))
	if got.name != "a" || got.addr != "10.77.0.1/24" || !slices.Equal(got.hosts, []string{"a=10.77.0.1", "b=10.77.0.2"}) {
		t.Errorf("got %+v", got)
	}
	if got := parseSettings(nil); got.name != "" || got.hosts != nil {
		t.Errorf("of nothing: got %+v", got)
	}
}
