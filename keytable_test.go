package mapgossip

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestKeyTable compares the table with Go maps under random operations.
func TestKeyTable(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var table keyTable
		times, used, priors := map[crdt.Slot]int64{}, map[crdt.Slot]int64{}, map[crdt.Slot]fingerprint{}
		for now := int64(1); now < 5000; now++ {
			slot := crdt.Slot(dice.IntN(3 * pageKeys))
			switch dice.IntN(8) {
			case 0, 1, 2:
				table.remember(slot, now).since = now
				times[slot], used[slot] = now, now
			case 3, 4:
				priors[slot] = content{true, number(dice.Int())}.fingerprint(maphash.MakeSeed())
				table.wait(slot, priors[slot])
			case 5, 6:
				table.held(slot)
				delete(priors, slot)
			case 7:
				before := now - int64(dice.IntN(1000))
				if dice.IntN(100) == 0 {
					before = now + 1
				}
				table.forget(before)
				for slot := range times {
					if table.recent(slot) == (recent{}) {
						if used[slot] >= before {
							t.Fatalf("seed %d: slot %d was forgotten %d after its use", seed, slot, now-used[slot])
						}
						delete(times, slot)
					} else if before > now {
						t.Fatalf("seed %d: slot %d is remembered for ever", seed, slot)
					}
				}
			}
			if r := table.recent(slot); r.since != times[slot] {
				t.Fatalf("seed %d: slot %d has %d, want %d", seed, slot, r.since, times[slot])
			}
			if table.prior(slot) != priors[slot] || table.waiting != len(priors) {
				t.Fatalf("seed %d: slot %d has %d, want %d; %d wait, want %d", seed, slot, table.prior(slot), priors[slot], table.waiting, len(priors))
			}
		}
	}
}

// recount holds what a mirror keeps up to date against a count of everything.
func (m *mirror) recount() error {
	waiting, failed := 0, 0
	ready, stalled := map[crdt.Slot]int{}, map[crdt.Slot]int{}
	for _, slot := range m.ready.slots[m.ready.head:] {
		ready[slot]++
	}
	for _, slot := range m.stalled.slots[m.stalled.head:] {
		stalled[slot]++
	}
	for slot := range m.store.Slots() {
		due, later := m.keys.is(slot, flagReady), m.keys.is(slot, flagStalled)
		if m.keys.is(slot, flagFailed) {
			failed++
		}
		if m.keys.waits(slot) {
			waiting++
			if m.applies && !due && !later {
				return fmt.Errorf("slot %d waits and nothing will write it", slot)
			}
		} else if due || m.keys.is(slot, flagFailed) {
			return fmt.Errorf("slot %d has flags and does not wait", slot)
		}
		if due && ready[slot] == 0 || later != (stalled[slot] == 1) || stalled[slot] > 1 {
			return fmt.Errorf("slot %d is %d times ready and %d times stalled; its flags say %t and %t", slot, ready[slot], stalled[slot], due, later)
		}
	}
	if waiting != m.keys.waiting || failed != m.keys.failed {
		return fmt.Errorf("%d keys wait and %d failed; the counters say %d and %d", waiting, failed, m.keys.waiting, m.keys.failed)
	}
	if n, reason := m.pendingApply(); m.applies && (n != waiting || (reason != nil) != (failed > 0)) || !m.applies && n != 0 {
		return fmt.Errorf("%d of %d keys wait, because: %v", n, waiting, reason)
	}
	return nil
}

// TestMirrorCounters: after random records, remote entries, applies that fail,
// looks and retries the counters and queues are what a recount finds.
func TestMirrorCounters(t *testing.T) {
	for seed := range uint64(24) {
		dice := rand.New(rand.NewPCG(seed, 2))
		options := MapOptions{
			Direction: []Direction{DirectionBoth, DirectionBoth, DirectionSend, DirectionReceive}[seed%4],
			Events:    []Events{EventsAll, EventsUpdate, EventsDelete}[seed%3],
		}
		m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, options, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
		const keys = 2 * pageKeys
		kernel := map[string][]byte{}
		now := int64(time.Hour)
		random := func() (key []byte, c content) {
			key = number(dice.IntN(keys))
			if dice.IntN(3) > 0 {
				c = content{true, number(dice.IntN(3))}
			}
			return key, c
		}
		for step := range 6000 {
			now += int64(dice.IntN(10)) * int64(time.Millisecond)
			switch key, c := random(); dice.IntN(10) {
			case 0, 1, 2:
				kind := mapwatch.Updated
				delete(kernel, string(key))
				if !c.present {
					kind = mapwatch.Deleted
				} else {
					kernel[string(key)] = c.value
				}
				if dice.IntN(8) == 0 {
					kind, c.value = mapwatch.Touched, nil
				}
				at := now - int64(dice.IntN(30))*int64(time.Millisecond)
				m.record(mapwatch.Change{Kind: kind, Key: key, Value: c.value, Captured: at, CPU: uint32(dice.IntN(2))}, at, now)
			case 3, 4, 5:
				e := crdt.Entry{Key: key, Value: c.value, Deleted: !c.present,
					Version: crdt.Version{Time: crdt.Timestamp{Wall: now + int64(dice.IntN(100)-50)*int64(time.Millisecond)}, Member: "other"}}
				if _, _, err := m.remote(e, now); err != nil {
					t.Fatal(err)
				}
			case 6, 7:
				ops, slots := m.takeWrites(1 + dice.IntN(20))
				for i := range ops {
					if op := &ops[i]; dice.IntN(3) == 0 {
						op.Err = mapwatch.ErrFull
					} else if op.Delete {
						delete(kernel, string(op.Key))
					} else {
						kernel[string(op.Key)] = slices.Clone(op.Value)
					}
				}
				m.applied(ops, slots, now, now+1000)
			case 8:
				for _, key := range m.dueLooks(50, now) {
					v, ok := kernel[key]
					m.looked(key, content{ok, v}.clone(), now)
				}
				m.settleLooked(now+1, now+1, func(boot int64) int64 { return boot })
			case 9:
				m.retry(10, now)
				if dice.IntN(10) == 0 {
					m.keys.forget(now - int64(time.Second))
				}
			}
			if step%10 == 0 {
				if err := m.recount(); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			}
		}
	}
}

// TestRetryTurns: entries that the kernel goes on refusing are all looked at
// again in turn, a limited number at a time.
func TestRetryTurns(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	refuse := func() {
		ops, slots := m.takeWrites(1000)
		for i := range ops {
			ops[i].Err = mapwatch.ErrFull
		}
		m.applied(ops, slots, now, now)
	}
	for i := range 100 {
		if _, _, err := m.remote(remoteEntry(i, now), now); err != nil {
			t.Fatal(err)
		}
	}
	refuse()
	looks := map[string]int{}
	for range 30 {
		now += int64(time.Second)
		m.retry(10, now)
		for _, key := range m.dueLooks(1000, now+settleDelay) {
			looks[key]++
			m.looked(key, content{}, now)
		}
		m.settleLooked(now+1, now+1, func(boot int64) int64 { return boot })
		refuse()
	}
	for i := range 100 {
		if n := looks[string(number(i))]; n != 3 {
			t.Errorf("key %d was looked at %d times, want 3", i, n)
		}
	}
}

// remoteEntry is an entry of another member.
func remoteEntry(i int, wall int64) crdt.Entry {
	return crdt.Entry{Key: number(i), Value: number(i), Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "other"}}
}

func TestSlotQueue(t *testing.T) {
	var q slotQueue
	dice := rand.New(rand.NewPCG(1, 1))
	var twin []crdt.Slot
	for i := range crdt.Slot(200000) {
		if dice.IntN(100) < 50+int(i/10000%2) {
			q.push(i)
			twin = append(twin, i)
		} else if len(twin) > 0 {
			if got := q.pop(); got != twin[0] {
				t.Fatalf("%d, want %d", got, twin[0])
			}
			twin = twin[1:]
		}
		if q.len() != len(twin) {
			t.Fatalf("%d slots, want %d", q.len(), len(twin))
		}
	}
}

// TestNoAllocations: in the steady state a record, and a remote entry with its
// write, allocate nothing.
func TestNoAllocations(t *testing.T) {
	const entries = 1024
	m, keys, values := filledMirror(entries)
	now := int64(2 * time.Hour)
	all := func(each func(key, value []byte)) func() {
		return func() {
			now += int64(time.Second)
			for i := range entries {
				each(keys[i*benchKey:][:benchKey], values[i*benchValue:][:benchValue])
			}
		}
	}
	records := all(func(key, value []byte) {
		if _, won := m.record(mapwatch.Change{Kind: mapwatch.Updated, Key: key, Value: value, Captured: now}, now, now); !won {
			t.Fatal("the record lost")
		}
	})
	remotes := all(func(key, value []byte) {
		value[20]++
		m.receive(key, value, now, now)
	})
	for what, run := range map[string]func(){"records": records, "remote entries": func() { remotes(); m.write(now, now) }} {
		m, keys, values = filledMirror(entries)
		if n := testing.AllocsPerRun(5, run); n > 0 { // it runs once before it counts
			t.Errorf("%s: %v allocations for %d entries", what, n, entries)
		}
	}
}
