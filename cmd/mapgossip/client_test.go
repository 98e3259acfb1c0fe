package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUnreachableNamesTheUnitsSocket: the unit's agent is not at the default
// address, and somebody must not take it for down.
func TestUnreachableNamesTheUnitsSocket(t *testing.T) {
	before := unitSocket
	t.Cleanup(func() { unitSocket = before })
	unitSocket = filepath.Join(t.TempDir(), "http.sock")
	said := func(at endpoint) bool {
		return strings.Contains(unreachable(at, syscall.ECONNREFUSED).Error(), "--http unix:"+unitSocket)
	}
	tcp := endpoint{"tcp", "127.0.0.1:7947"}
	if said(tcp) {
		t.Error("names a socket that is not there")
	}
	if err := os.WriteFile(unitSocket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !said(tcp) || said(endpoint{"unix", unitSocket}) {
		t.Error("want the socket named to who asked elsewhere, and to nobody else")
	}
}
