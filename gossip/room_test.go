package gossip

import (
	"errors"
	"math"
	"testing"
	"time"
)

// told returns what a member was last told of the room in the map of another one.
func told(m *member, node, mapName string) Room {
	for _, o := range m.Members() {
		if o.Node == node {
			return o.Room[mapName]
		}
	}
	return Room{}
}

func TestRoomReachesAll(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b, c := w.start("b", addrB, seeds(addrA)), w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		if got := told(b, "a", "flows"); got != (Room{}) {
			t.Errorf("told %+v before anything was said", got)
		}
		for _, room := range []Room{{1000, 0}, {1000, 17}, {2000, 0}} {
			a.SetRoom("flows", room)
			if got := told(a, "a", "flows"); got != room {
				t.Errorf("the member itself says %+v, want %+v", got, room)
			}
			t.Log("told in", within(t, 2*time.Minute, "room is told", func() bool {
				return told(b, "a", "flows") == room && told(c, "a", "flows") == room
			}))
		}
		before := a.Members()
		a.SetRoom("flows", Room{-1, math.MaxInt})
		a.SetRoom("nobody's", Room{1, 1})
		if got := told(a, "a", "flows"); got != (Room{0, maxRoom}) {
			t.Errorf("a room beyond the bounds became %+v", got)
		}
		if got := told(a, "a", "nobody's"); got != (Room{}) {
			t.Errorf("a map that is not there has room %+v", got)
		}
		for _, m := range before {
			if m.Self && m.Room["flows"] != (Room{2000, 0}) {
				t.Errorf("what Members returned has changed: %+v", m.Room)
			}
		}
		within(t, 2*time.Minute, "bounded room is told", func() bool { return told(b, "a", "flows") == Room{0, maxRoom} })
		// A member that is gone is remembered with what it said.
		w.kill(a)
		within(t, time.Minute, "dead", func() bool { return stateOf(b, "a") == StateDead })
		if got := told(b, "a", "flows"); got != (Room{0, maxRoom}) {
			t.Errorf("of the dead %+v is known", got)
		}
	})
}

// oneMap is a state frame about one map with these numbers.
func oneMap(sender string, order uint64, since, maxEntries, waiting int64) []byte {
	w := newFrame(kindState, sender, 6, 256)
	w.uint(0)
	w.flag(false)
	w.flag(true)
	w.uint(order)
	w.array(1)
	w.array(11)
	w.text("x")
	w.text("hash")
	w.number(4)
	w.number(4)
	w.flag(false)
	w.flag(true)
	w.int(since)
	w.int(maxEntries)
	w.int(waiting)
	w.blob(nil)
	w.array(2)
	w.int(0)
	w.array(0)
	w.array(0)
	return w.finish()
}

// A state is taken whole or not at all.
func TestHostileStates(t *testing.T) {
	hostile := map[string][]byte{
		"since before 1970":     oneMap(sampleSender, 1, -1, 5, 6),
		"negative max_entries":  oneMap(sampleSender, 1, 1, -5, 6),
		"negative waiting":      oneMap(sampleSender, 1, 1, 5, -6),
		"max_entries too large": oneMap(sampleSender, 1, 1, maxRoom+1, 6),
		"waiting too large":     oneMap(sampleSender, 1, 1, 5, math.MaxInt64),
		"too many maps":         state{Order: 1, Maps: make([]mapState, maxMaps+1)}.encode(sampleSender),
	}
	fields := newFrame(kindState, sampleSender, 6, 256)
	fields.uint(0)
	fields.flag(false)
	fields.flag(true)
	fields.uint(1)
	fields.array(1)
	fields.array(7) // a record without the newer fields
	for range 7 {
		fields.uint(0)
	}
	fields.array(0)
	hostile["too many lacking"] = state{Order: 1, Lacking: make([]string, maxMaps+1)}.encode(sampleSender)
	hostile["short record"] = fields.finish()
	for name, frame := range hostile {
		if _, _, err := decodeAny(frame); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, decoded, err := decodeAny(oneMap(sampleSender, 1, 1, 5, 6)); err != nil || decoded.(state).Maps[0].Room != (Room{5, 6}) {
		t.Errorf("a good one: %+v, %v", decoded, err)
	}
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, nil), w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		a.SetRoom("flows", Room{1000, 3})
		within(t, time.Minute, "told", func() bool { return told(b, "a", "flows") == Room{1000, 3} })
		send := func(frame []byte) {
			t.Helper()
			if err := a.list.SendReliable(a.peers()[0].node, frame); err != nil {
				t.Fatal(err)
			}
		}
		send(oneMap(a.name, 1<<40, 1, -5, 6))
		within(t, time.Second, "counted", func() bool { return b.Stats().Malformed == 1 })
		send(oneMap(a.name, 1, 1, 5, 6)) // an old one, overtaken by newer ones
		<-time.After(time.Second)
		if got := told(b, "a", "flows"); got != (Room{1000, 3}) {
			t.Errorf("b believes %+v", got)
		}
		a.put("flows", key(1), value(1))
		within(t, 20*time.Millisecond, "spread", same("flows", a, b))
		// Of a map that b does not have nothing is made.
		send(oneMap(a.name, 1<<40, 1, 5, 6))
		within(t, time.Second, "taken", func() bool { return told(b, "a", "x") == Room{5, 6} })
		if ok, _ := b.Filled("x"); ok || len(b.Conflicts()) > 0 {
			t.Errorf("filled with a map that is not here; conflicts %q", b.Conflicts())
		}
	})
}
