package gossip

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
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

func rumorOf(key string, wall int64, local bool) *rumor {
	return &rumor{spec: &flows, id: rumorID{"flows", key}, local: local, entry: crdt.Entry{Key: []byte(key), Value: make([]byte, 16),
		Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "a"}}}
}

func TestOutboxKeepsTheNewest(t *testing.T) {
	o := newOutbox()
	o.put([]*rumor{rumorOf("f", 1, false), rumorOf("x", 5, true), rumorOf("x", 4, true), rumorOf("y", 1, true), rumorOf("x", 6, true), rumorOf("f", 2, true)}, false)
	rumors, _ := o.take("a")
	var got []string
	for _, r := range rumors {
		got = append(got, r.id.key)
	}
	if strings.Join(got, "") != "xyf" || rumors[0].entry.Version.Time.Wall != 6 {
		t.Errorf("took %v", got)
	}
	if rest, _ := o.take("a"); rest != nil || o.len() != 0 || o.bytes != 0 {
		t.Errorf("left: %v, %d entries, %d bytes", rest, o.len(), o.bytes)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox()
	o.put([]*rumor{rumorOf("local", 1, true)}, false)
	dropped := 0
	for i := range maxWaiting + 99 {
		dropped += o.put([]*rumor{rumorOf(string(key(i)), 1, false)}, false)
	}
	if o.len() != maxWaiting || dropped != 100 {
		t.Errorf("%d wait, %d dropped", o.len(), dropped)
	}
	if first, _ := o.take("a"); first[0].id.key != "local" {
		t.Error("the local change was dropped before forwarded ones")
	}
	big := func(k string) *rumor {
		r := rumorOf(k, 1, true)
		r.entry.Value = make([]byte, 20<<20)
		return r
	}
	o.clear()
	if n := o.put([]*rumor{big("1"), big("2"), big("3")}, false); n != 2 || o.len() != 1 {
		t.Errorf("%d of three of 20 MiB dropped, %d wait", n, o.len())
	}
}

func TestAudience(t *testing.T) {
	crowd := func(n int) (peers []*peer) {
		for i := range n {
			peers = append(peers, &peer{meta: meta{Node: string(rune('A' + i))}})
		}
		return peers
	}
	for _, c := range []struct {
		others int
		from   string
		want   int
	}{{0, "", 0}, {31, "", 31}, {31, "A", 0}, {32, "", 6}, {32, "A", 6}, {63, "A", 6}, {64, "A", 7}, {2, "A", 0}} {
		chosen := audience(crowd(c.others), c.from)
		if len(chosen) != c.want {
			t.Errorf("%d others, from %q: %d chosen, want %d", c.others, c.from, len(chosen), c.want)
		}
		for _, p := range chosen {
			if c.from != "" && p.Node == c.from {
				t.Errorf("sent back to %s", c.from)
			}
		}
	}
}

func TestInboxIsBounded(t *testing.T) {
	in := newInbox(100)
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
