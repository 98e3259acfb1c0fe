package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

func TestValidateReportsAllFaults(t *testing.T) {
	c := DefaultConfig()
	c.Node = "a"
	if err := c.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	c = Config{
		Node: "tab\t", Seeds: []string{"host:99999", ":7946", "ok", "ok:1", "::1", "[::1]:80", "a b"}, Keyring: [][]byte{make([]byte, 15)},
		Advertise: netip.MustParseAddrPort("0.0.0.0:1"), Version: strings.Repeat("v", 65),
		Maps: []Map{{Name: "m", KeyBytes: 1}, {Name: "m", KeyBytes: 1}, {}, {Name: "k"}, {Name: "big", KeyBytes: 8, ValueBytes: MaxEntryBytes}},
	}
	text := c.Validate().Error()
	for _, part := range []string{"node ID", "cluster name", "version", "bind address", "advertise address", `"host:99999"`, `":7946"`, `"a b"`, "key 1 of the keyring",
		"sync interval", "given twice", `map name ""`, "map k", "map big", "16777216 can be replicated", "logger", "clock"} {
		if !strings.Contains(text, part) {
			t.Errorf("no word of %s in:\n%s", part, text)
		}
	}
	if text := (Config{Version: "v1\xff"}).Validate().Error(); !strings.Contains(text, "version") { // else no member takes it in
		t.Errorf("no word of the version in:\n%s", text)
	}
	if n := strings.Count(text, "seed "); n != 3 {
		t.Errorf("%d seeds refused, want 3:\n%s", n, text)
	}
}

func TestSplitSeed(t *testing.T) {
	for seed, want := range map[string]string{"h": "h 7", "h:1": "h 1", "::1": "::1 7", "[::1]:80": "::1 80", "[::1]": "::1 7", "10.0.0.1": "10.0.0.1 7"} {
		host, port, err := splitSeed(seed, 7)
		if got := strings.TrimSpace(host + " " + netip.AddrPortFrom(netip.IPv4Unspecified(), port).String()[8:]); err != nil || got != want {
			t.Errorf("seed %s: %q, %v; want %q", seed, got, err, want)
		}
	}
}

// taken empties an outbox and returns the slots in the order in which they
// left, each map's name before its slots; at most most at a time.
func taken(o *outbox, most int) string {
	var text strings.Builder
	for {
		at, spec, _, resend := o.next()
		if spec == nil {
			return text.String()
		}
		fmt.Fprintf(&text, "%s%d", spec.Name, at)
		if resend {
			text.WriteString("!")
		}
		n := 0
		o.take(at, spec, func(slot crdt.Slot) bool {
			if n == most {
				return false
			}
			n++
			fmt.Fprintf(&text, " %d", slot)
			return true
		})
		text.WriteString("; ")
	}
}

func TestOutboxOrder(t *testing.T) {
	one, two := &Map{Name: "x"}, &Map{Name: "y"}
	o := newOutbox()
	o.put(laneForwarded, one, []crdt.Slot{7, 1}, false)
	o.put(laneLocal, one, []crdt.Slot{5, 900, 5, 3, 5}, false)
	o.put(laneLocal, two, []crdt.Slot{5}, false)
	o.put(laneLocal, one, []crdt.Slot{3, 7}, false)
	if n := o.len(); n != 7 {
		t.Errorf("%d wait, want 7", n)
	}
	if got, want := taken(o, 2), "x0 5 900; y0 5; x0 3 7; x1 7 1; "; got != want {
		t.Errorf("left as %q, want %q", got, want)
	}
	o.put(laneLocal, one, []crdt.Slot{5}, true)
	o.put(laneLocal, one, []crdt.Slot{6}, false)
	if got, want := taken(o, 9), "x0! 5 6; "; got != want {
		t.Errorf("left as %q, want %q", got, want)
	}
	o.put(laneLocal, one, []crdt.Slot{5}, false)
	if got, want := taken(o, 9), "x0 5; "; got != want || o.len() != 0 {
		t.Errorf("left as %q, want %q; %d wait", got, want, o.len())
	}
	o.put(laneLocal, one, []crdt.Slot{5, 6}, false)
	if n := o.clear(); n != 2 || o.len() != 0 || taken(o, 9) != "" {
		t.Errorf("%d cleared", n)
	}
}

// The queue against a plain list, and no more memory than its keys need.
func TestSlotQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const keys = 100
		var q slotQueue
		var twin []crdt.Slot
		for range rapid.IntRange(1, 1000).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "pop") == 0 && len(twin) > 0 {
				if q.front() != twin[0] {
					t.Fatalf("front %d, want %d", q.front(), twin[0])
				}
				q.pop()
				twin = twin[1:]
			} else {
				slot := crdt.Slot(rapid.IntRange(0, keys-1).Draw(t, "slot"))
				q.push(slot)
				if !slices.Contains(twin, slot) {
					twin = append(twin, slot)
				}
			}
			if q.len() != len(twin) || cap(q.slots) > 4*keys {
				t.Fatalf("%d wait, want %d; room for %d", q.len(), len(twin), cap(q.slots))
			}
		}
	})
}

func TestInboxIsBounded(t *testing.T) {
	in := newInbox(100, new(atomic.Int64))
	if !in.put(parcel{bytes: 1000}) {
		t.Error("an empty inbox refused a large frame")
	}
	if in.put(parcel{bytes: 1}) {
		t.Error("a full inbox took a frame")
	}
	if _, ok := in.take(); !ok || in.bytes != 0 {
		t.Error("nothing to take")
	}
	if _, ok := in.take(); ok {
		t.Error("took from an empty inbox")
	}
}

func TestLogBridgeHoldsStormsBack(t *testing.T) {
	var out logBuffer
	now := time.Unix(0, 0)
	b := &logBridge{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	for i := range 1000 {
		_, _ = b.Write([]byte("[ERR] memberlist: discarding packet with unacceptable label \"x\": from=10.0.0." + string(rune('0'+i%10)) + "\n"))
		_, _ = b.Write([]byte("[WARN] memberlist: Refuting a suspect message (from: x)\n"))
	}
	now = now.Add(repeatAfter)
	_, _ = b.Write([]byte("[ERR] memberlist: discarding packet with unacceptable label \"x\": from=10.0.0.1\n"))
	if n := out.count("\n"); n != 2 || out.count("repeated=999") != 1 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
