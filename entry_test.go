package mapgossip

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// entry is what the node has of a key.
func (n *rigNode) entry(t *testing.T, key []byte) Entry {
	t.Helper()
	e, err := n.Entry(t.Context(), "flows", key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEntry: an entry comes with what the kernel holds, whatever state it is in.
func TestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 2})
		b := r.start(c, kernel, m)
		pass(5 * time.Second)
		for i := range 3 {
			a.write(t, i, 10+i)
			pass(time.Second)
		}
		e := b.entry(t, number(1))
		if e.Map != "flows" || e.Key != hexOf(1) || e.Value != hexOf(11) || e.Deleted || e.Node != "n0" || e.Pending || e.Evicted || e.KeyText != "" || e.ValueText != "" {
			t.Errorf("%+v", e)
		}
		if e.Kernel == nil || *e.Kernel != (KernelValue{true, hexOf(11), ""}) {
			t.Errorf("kernel: %+v", e.Kernel)
		}
		if own := a.entry(t, number(1)); !own.Time.Equal(e.Time) || own.Logical != e.Logical || e.Time.Location() != time.UTC {
			t.Errorf("%v and %v", own.Time, e.Time)
		}
		if e := b.entry(t, number(2)); !e.Pending || e.Kernel == nil || e.Kernel.Present || e.Value != hexOf(12) {
			t.Errorf("refused by the kernel: %+v, %+v", e, e.Kernel)
		}
		a.m.Remove(number(0), 0)
		pass(5 * time.Second)
		if e := b.entry(t, number(0)); !e.Deleted || e.Value != "" || e.Pending || e.Kernel == nil || e.Kernel.Present {
			t.Errorf("a tombstone: %+v, %+v", e, e.Kernel)
		}
		if e := b.entry(t, number(2)); e.Pending || !e.Kernel.Present {
			t.Errorf("there is room: %+v, %+v", e, e.Kernel)
		}
		a.m.Lose(1, fake.Silent)
		a.write(t, 7, 77)
		e = a.entry(t, number(7))
		if e.Node != "" || e.Value != "" || e.Deleted || e.Kernel == nil || *e.Kernel != (KernelValue{true, hexOf(77), ""}) {
			t.Errorf("just in the kernel: %+v, %+v", e, e.Kernel)
		}
		a.m.Misread(1) // the bytes of another key, once
		if e := a.entry(t, number(7)); e.Kernel == nil || e.Kernel.Value != hexOf(77) {
			t.Errorf("%+v", e.Kernel)
		}
		for _, bad := range []struct {
			mapName string
			key     []byte
			want    error
		}{
			{"flow", number(1), ErrUnknownMap},
			{"flows", number(99), ErrUnknownKey},
			{"flows", number(1)[1:], ErrKey},
			{"flows", nil, ErrKey},
		} {
			if _, err := a.Entry(t.Context(), bad.mapName, bad.key); !errors.Is(err, bad.want) {
				t.Errorf("map %s, key %x: %v", bad.mapName, bad.key, err)
			}
		}
	})
}

// TestEntryEvicted: that the kernel let go of a key is told.
func TestEntryEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.addLRU("")
		pass(5 * time.Second)
		a.write(t, 1, 1)
		pass(time.Second)
		if err := a.m.Evict(number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if e := a.entry(t, number(1)); !e.Evicted || e.Pending || e.Kernel == nil || e.Kernel.Present || e.Value != hexOf(1) {
			t.Errorf("%+v, %+v", e, e.Kernel)
		}
	})
}

// TestEntryOfTrie: bits beyond a prefix are no part of the key.
func TestEntryOfTrie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		c, kernel, m := r.prepare(0, mapwatch.Shape{Type: mapwatch.TypeLPMTrie})
		a := r.start(c, kernel, m)
		pass(5 * time.Second)
		key := append(binary.NativeEndian.AppendUint32(nil, 8), 10, 0, 0, 0)
		if err := m.Write(key, number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		loose := append(binary.NativeEndian.AppendUint32(nil, 8), 10, 1, 2, 3)
		if e := a.entry(t, loose); e.Node != "n0" || e.Kernel == nil || !e.Kernel.Present {
			t.Errorf("%+v", e)
		}
		if loose[5] != 1 {
			t.Error("the caller's key was written to")
		}
		typed := hexText(loose)
		if got, err := a.ParseKey(t.Context(), "flows", typed); err != nil || string(got) != string(key) {
			t.Errorf("%x: %v", got, err)
		}
	})
}

// TestEntryTypes: where the map has types, keys and values come in their words, too,
// and keys can be given so.
func TestEntryTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		c, kernel, m := r.prepare(0, mapwatch.Shape{KeyBytes: 4, ValueBytes: 1})
		k := &witness{Kernel: kernel, key: layout.Layout{Kind: "int", Type: "__u32", Bytes: 4}, value: layout.Layout{Kind: "bool", Type: "_Bool", Bytes: 1}}
		c.Kernel = k
		a := r.start(c, kernel, m)
		pass(5 * time.Second)
		v := a.view(t, "flows")
		key, value := []byte{1, 2, 3, 4}, []byte{1}
		if err := m.Write(key, value, 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		keyText, valueText := k.key.Format(key), k.value.Format(value)
		e := a.entry(t, key)
		if e.KeyText != keyText || e.ValueText != valueText || e.Kernel.ValueText != valueText {
			t.Errorf("%+v, %+v", e, e.Kernel)
		}
		if changes := v.got(); len(changes) != 1 || changes[0].KeyText != keyText || changes[0].ValueText != valueText {
			t.Errorf("%+v", changes)
		}
		v.end(t)
		if err := a.Entries(t.Context(), "flows", false, func(some []Entry) error {
			if len(some) != 1 || some[0].KeyText != keyText || some[0].ValueText != valueText {
				t.Errorf("%+v", some)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		gotKey, gotValue, err := a.Layouts(t.Context(), "flows")
		if err != nil || gotKey.Type != "__u32" || gotValue.Type != "_Bool" {
			t.Errorf("%+v, %+v: %v", gotKey, gotValue, err)
		}
		if _, _, err := a.Layouts(t.Context(), "flow"); !errors.Is(err, ErrUnknownMap) {
			t.Error(err)
		}
		// What is no hex of all bytes is read by the type.
		want, wrong := k.key.Parse("0x10")
		if got, err := a.ParseKey(t.Context(), "flows", "0x10"); (wrong == nil && len(want) == 4) != (err == nil) || string(got) != string(want) {
			t.Errorf("%x: %v; the type says %x, %v", got, err, want, wrong)
		}
		if _, err := a.ParseKey(t.Context(), "flows", "no number"); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
	})
}

func hexText(b []byte) string {
	var s strings.Builder
	for _, x := range b {
		s.WriteByte("0123456789abcdef"[x>>4])
		s.WriteByte("0123456789abcdef"[x&15])
	}
	return s.String()
}

func TestParseKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		pass(5 * time.Second)
		for _, good := range []string{
			"00000000000000ff", "0x00000000000000FF", "0X00000000000000ff", "00 00 00 00 00 00 00 ff", "00:00:00:00:00:00:00:ff",
			"0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff", " 00000000 000000ff\n", "0000:0000:0000:00ff",
		} {
			if key, err := a.ParseKey(t.Context(), "flows", good); err != nil || string(key) != string(number(255)) {
				t.Errorf("%q is %x: %v", good, key, err)
			}
		}
		for _, bad := range []string{
			"", " ", "0x", "ff", "00000000000000f", "00000000000000fff", "00000000000000fg", "0x0x000000000000ff", "00 00 00 00 00 00 00 0x", "port=5", strings.Repeat("0", 1<<16),
		} {
			key, err := a.ParseKey(t.Context(), "flows", bad)
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "8 bytes") || len(err.Error()) > 300 {
				t.Errorf("%.20q is %x: %v", bad, key, err)
			}
		}
		if _, err := a.ParseKey(t.Context(), "flow", "00"); !errors.Is(err, ErrUnknownMap) {
			t.Error(err)
		}
	})
}
