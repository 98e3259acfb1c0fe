package state_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/state"
)

var update = flag.Bool("update", false, "write testdata/format.txt anew")

// TestFormat holds the files to testdata/format.txt, byte for byte. A difference
// means that the state of earlier releases is misread: it is a new format
// version, not something to update.
func TestFormat(t *testing.T) {
	m := newMember(t)
	reopen(t, m)
	m.append("m", "key1", "value", false)
	m.meta("blob")
	if err := m.begin(); err != nil {
		t.Fatal(err)
	}
	m.append("m", "key1", "", true)
	m.dir.Append("n", entryAt(5, "key2", "waits"), true)
	m.flush()
	m.add(1)
	// What is there before Commit removes it, and after.
	files := m.disk.Files()
	if err := m.commit(); err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, m.disk.Files())
	delete(files, "2.snapshot.tmp")

	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&out, "%s\n", name)
		for b := files[name]; len(b) > 0; {
			frame := state.FirstFrame(b)
			fmt.Fprintf(&out, "  %x %q\n", frame[:8], frame[8:])
			b = b[len(frame):]
		}
	}
	const file = "testdata/format.txt"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(out.String())) {
		t.Errorf("the format changed; %s has\n%s\nnow it would be\n%s", file, want, out.String())
	}
}
