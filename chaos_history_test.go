package mapgossip

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// chaosHistory is what the programs of a story wrote, and which versions the
// stores made of it: what can be said about a cluster from outside. Its rules
// have names, which begin each error.
//
// Each write has a value of its own, so that an entry tells which write it is.
// From a write follow bounds of the time that its version may have: least, what
// the host's clock said when the hook saw it; and most. Only what a hook of a
// running agent told of has a least: a write in place, one whose record was
// lost, and one that nobody watched are found by a look, which comes later, and
// finds nothing if an entry of another member was applied in between.
type chaosHistory struct {
	writes []chaosWrite
	keys   map[string]*chaosKey
}

type chaosWrite struct {
	host    int
	key     string
	deleted bool
	at      time.Time
	counts  bool          // it must be in the end, or a newer one
	hooked  bool          // a hook told of it
	least   int64         // the time of its version is at least that, if it counts
	before  *crdt.Version // of the entry that store and kernel held, if it was there in both
	seen    bool
	version crdt.Version // once seen
	stores  uint         // that were seen to hold it, a bit a host
}

func (w chaosWrite) String() string {
	what := "wrote"
	if w.deleted {
		what = "deleted"
	}
	return fmt.Sprintf("%s %s key %d at %s", chaosID(w.host), what, binary.BigEndian.Uint64([]byte(w.key)), chaosTime(w.at))
}

// chaosTime is how long after the bubble's beginning something was.
func chaosTime(t time.Time) time.Duration {
	return t.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
}

type chaosKey struct {
	writes     []int
	best       *crdt.Entry           // the greatest that any store held and that is not lost
	collected  *crdt.Version         // of the newest tombstone that was collected everywhere
	collectors uint                  // the hosts whose stores had it, a bit each
	tombstones map[crdt.Version]bool // all that were seen
}

// after is the version of the first tombstone after v; nil if none was seen.
func (k *chaosKey) after(v crdt.Version) (first *crdt.Version) {
	for version := range k.tombstones {
		if version.Compare(v) > 0 && (first == nil || version.Compare(*first) < 0) {
			first = &version
		}
	}
	return first
}

func newChaosHistory() *chaosHistory { return &chaosHistory{keys: make(map[string]*chaosKey)} }

func (y *chaosHistory) key(key string) *chaosKey {
	k := y.keys[key]
	if k == nil {
		k = &chaosKey{tombstones: make(map[crdt.Version]bool)}
		y.keys[key] = k
	}
	return k
}

// next is the value of the next write.
func (y *chaosHistory) next() []byte { return number(len(y.writes) + 1) }

func (y *chaosHistory) add(w chaosWrite) {
	k := y.key(w.key)
	k.writes = append(k.writes, len(y.writes))
	y.writes = append(y.writes, w)
}

// of is the write that an entry is about: by its value, or, for a tombstone, the
// latest delete of its member that can have its time.
func (y *chaosHistory) of(e crdt.Entry) (*chaosWrite, error) {
	if !e.Deleted {
		i := int(binary.BigEndian.Uint64(e.Value)) - 1
		if i < 0 || i >= len(y.writes) || y.writes[i].key != string(e.Key) || y.writes[i].deleted {
			return nil, fmt.Errorf("invented: an entry has value %x at key %x, which nobody wrote there", e.Value, e.Key)
		}
		return &y.writes[i], nil
	}
	var found *chaosWrite
	for _, i := range y.key(string(e.Key)).writes {
		w := &y.writes[i]
		if w.deleted && chaosID(w.host) == e.Version.Member && w.least <= e.Version.Time.Wall {
			found = w
		}
	}
	if found == nil {
		return nil, fmt.Errorf("invented: tombstone of key %x, version %v %s, which nobody deleted", e.Key, e.Version.Time, e.Version.Member)
	}
	return found, nil
}

// alone reports whether a tombstone that may be this delete's can be no other one's.
func (y *chaosHistory) alone(w *chaosWrite) bool {
	for _, i := range y.key(w.key).writes {
		other := &y.writes[i]
		if other != w && other.deleted && other.host == w.host && other.at.Sub(w.at).Abs() < time.Second {
			return false
		}
	}
	return true
}

// observe takes an entry that a host's store was seen to hold. horizon is the
// latest time that any host's clock had so far; doubtful entries may be back
// after their delete was forgotten.
func (y *chaosHistory) observe(host int, e crdt.Entry, horizon int64, doubtful bool) error {
	if e.Deleted {
		if sentence, err := y.sentence(e); sentence || err != nil {
			return err
		}
	}
	w, err := y.of(e)
	if err != nil {
		return err
	}
	k := y.key(string(e.Key))
	if e.Version.Time.Wall > 0 { // else found in a map at the start of an agent
		switch {
		case e.Version.Member != chaosID(w.host):
			return fmt.Errorf("stamped again: %s, and %s has a version of it, %v", *w, e.Version.Member, e.Version.Time)
		case !e.Deleted && w.seen && w.version != e.Version:
			return fmt.Errorf("stamped again: %s, and it has versions %v and %v", *w, w.version.Time, e.Version.Time)
		case w.counts && e.Version.Time.Wall < w.least:
			return fmt.Errorf("stamped early: %s, and the version is %v, %v too early", *w, e.Version.Time, time.Duration(w.least-e.Version.Time.Wall))
		case e.Version.Time.Wall > horizon:
			return fmt.Errorf("stamped ahead: %s, and the version is %v, which no clock has reached", *w, e.Version.Time)
		case w.hooked && !w.seen && (!e.Deleted || y.alone(w)) && w.before != nil && e.Version.Compare(*w.before) <= 0:
			return fmt.Errorf("stamped below: %s over version %v %s, and its version is %v", *w, w.before.Time, w.before.Member, e.Version.Time)
		}
		w.seen, w.version = true, e.Version
		if e.Deleted && !k.tombstones[e.Version] {
			k.tombstones[e.Version] = true
			if err := y.deletes(k, e.Version.Member); err != nil {
				return fmt.Errorf("%w: key %x", err, e.Key)
			}
		}
	}
	had := w.stores
	w.stores |= 1 << host
	if e.Version.Time.Wall == 0 {
		return nil // nobody knows how old it is: it may go when it was deleted anywhere
	}
	if k.collected != nil && e.Version.Compare(*k.collected) <= 0 {
		switch knew := k.collectors>>host&1 == 1; {
		case knew && !e.Deleted && had&k.collectors != 0 && !doubtful: // a tombstone may be back from a disk
			return fmt.Errorf("returned: %s, version %v, is there again; a delete of %v was forgotten", *w, e.Version.Time, k.collected.Time)
		case e.Deleted || k.best != nil:
			return nil // not all have collected the tombstone
		}
		y.lost(string(e.Key), nil) // from one who was away for longer than is waited for, and kept what it wrote meanwhile
	}
	if k.best == nil || e.Compare(*k.best) > 0 {
		k.best = &e
	}
	return nil
}

// sentence reports whether a tombstone is not a program's delete but what a
// member tells another one that holds an entry whose delete it forgot: it has
// that entry's version. An error means that nobody ever deleted it.
func (y *chaosHistory) sentence(e crdt.Entry) (bool, error) {
	if e.Version.Time.Wall == 0 {
		return chaosFeatures.collection, nil
	}
	k := y.key(string(e.Key))
	for _, i := range k.writes {
		w := &y.writes[i]
		if w.deleted || !w.seen || w.version != e.Version {
			continue
		}
		if k.after(e.Version) != nil {
			return true, nil
		}
		return false, fmt.Errorf("killed: %s, version %v, and somebody says that it was deleted", *w, e.Version.Time)
	}
	return false, nil
}

// deletes holds that a member made no more tombstones of a key than its programs deletes.
func (y *chaosHistory) deletes(k *chaosKey, member string) error {
	made, stamped := 0, 0
	for _, i := range k.writes {
		if y.writes[i].deleted && chaosID(y.writes[i].host) == member {
			made++
		}
	}
	for v := range k.tombstones {
		if v.Member == member {
			stamped++
		}
	}
	if stamped > made {
		return fmt.Errorf("stamped again: %d deletes of %s have %d versions", made, member, stamped)
	}
	return nil
}

// unwatched says that the writes of a host that no store has seen yet may never
// be: its agent ends.
func (y *chaosHistory) unwatched(host int) {
	for i := range y.writes {
		if w := &y.writes[i]; w.host == host && !w.seen {
			w.counts, w.hooked = false, false
		}
	}
}

// stepped says that a host's clock was set back: writes that have no version
// yet may get one that is so much earlier.
func (y *chaosHistory) stepped(host int, back time.Duration) {
	for i := range y.writes {
		if w := &y.writes[i]; w.host == host && !w.seen {
			w.least -= int64(back)
		}
	}
}

// lost says that the newest entries of a key are gone with the only ones that
// had them; the others have rest at most.
func (y *chaosHistory) lost(key string, rest *crdt.Entry) {
	k := y.key(key)
	k.best, k.collected, k.collectors = rest, nil, 0
	for _, i := range k.writes {
		y.writes[i].counts = false
	}
}

// sunk says that the highest floor that anybody knows is this: tombstones above
// are not known to have been collected any more.
func (y *chaosHistory) sunk(floor int64) {
	for _, k := range y.keys {
		if k.collected != nil && k.collected.Time.Wall > floor {
			k.collected, k.collectors = nil, 0
			for _, i := range k.writes {
				y.writes[i].counts = false
			}
		}
	}
}

// collect says that a host's store let go of a tombstone; rest is the greatest
// entry that any still has.
func (y *chaosHistory) collect(host int, e crdt.Entry, rest *crdt.Entry) {
	k := y.key(string(e.Key))
	if k.collected == nil || e.Version.Compare(*k.collected) > 0 {
		k.collected, k.collectors = &e.Version, 0
	}
	k.collectors |= 1 << host
	if k.best != nil && k.best.Compare(e) <= 0 && (rest == nil || rest.Compare(e) < 0) {
		k.best = nil
	}
}

// judge compares the end of a key with its history; final is nil if no store
// has heard of it.
func (y *chaosHistory) judge(key string, k *chaosKey, final *crdt.Entry) error {
	if final == nil {
		if k.best != nil && !(chaosFeatures.collection && k.best.Deleted) {
			return fmt.Errorf("lost: key %x had version %v of %s, and nobody knows it", key, k.best.Version.Time, k.best.Version.Member)
		}
	} else if k.best != nil && final.Compare(*k.best) < 0 &&
		// What is found in a map loses to what the cluster knows, and it knows no tombstone that it collected.
		!(final.Version.Time.Wall == 0 && k.best.Deleted && k.collected != nil) {
		return fmt.Errorf("went back: key %x had version %v of %s (deleted: %t), and has %v of %s (deleted: %t)", key,
			k.best.Version.Time, k.best.Version.Member, k.best.Deleted, final.Version.Time, final.Version.Member, final.Deleted)
	}
	for _, i := range k.writes {
		w := y.writes[i]
		switch {
		case !w.counts || k.collected != nil && w.least <= k.collected.Time.Wall:
		case final == nil && !(chaosFeatures.collection && w.deleted):
			// What a later delete made of it is in best.
			if k.best == nil && (k.collected == nil || k.collected.Time.Wall < w.least) {
				return fmt.Errorf("lost: %s, and nobody knows the key", w)
			}
		case final != nil && final.Version.Time.Wall < w.least:
			return fmt.Errorf("lost: %s, and the key ends with version %v of %s, %v older", w, final.Version.Time, final.Version.Member,
				time.Duration(w.least-final.Version.Time.Wall))
		}
	}
	return nil
}
