//go:build lab

package main

import (
	"bytes"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
)

func TestRun(t *testing.T) {
	t.Setenv("MAPGOSSIP_LAB", "")
	script := write(t, "script", "#!/bin/sh\necho out $0 $1 $MAPGOSSIP_NO_SKIP $MORE $(uname -r)\necho err >&2\nexit 3\n")
	r, err := parse([]string{"-kernel", "6.1", "-env", "MORE=more", script, "word"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err = r.run(t.Context(), &stdout, &stderr)
	t.Logf("%v\n%s", err, &stderr)
	if got := status(err); got != 3 {
		t.Errorf("status %d", got)
	}
	if !bytes.HasPrefix(stdout.Bytes(), []byte("out /lab/script word 1 more 6.1.")) {
		t.Errorf("standard output: %q", &stdout)
	}
	if !bytes.Contains(stderr.Bytes(), []byte("\nerr\n")) {
		t.Errorf("standard error: %q", &stderr)
	}
	r.host.Preempt = lab.PreemptLazy // not known to this kernel
	if got := status(r.run(t.Context(), &stdout, &stderr)); got != statusLab {
		t.Errorf("a guest that did not come up: status %d", got)
	}
}
