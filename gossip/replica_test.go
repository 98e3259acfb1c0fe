package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// replica is a Replica in memory that passes on what was new to it.
type replica struct {
	node string

	mu      sync.Mutex
	clock   *crdt.Clock
	stores  map[string]*crdt.Store
	cluster *Cluster
	block   chan struct{}                 // Merge waits for it, unless nil
	merging int                           // calls of Merge that wait
	merged  int                           // entries
	joining map[string]string             // by map name: "new" and "old", as senders were in turn
	slow    time.Duration                 // that Merge takes
	failing error                         // what Merge returns, unless nil
	busy    atomic.Pointer[chan struct{}] // Read waits for it, as for an owner with a batch in hand, unless nil
	deaf    atomic.Pointer[chan struct{}] // View waits for it, unless nil
}

func newReplica(node string, maps []Map) *replica {
	r := &replica{node: node, clock: crdt.NewClock(time.Hour), stores: make(map[string]*crdt.Store), joining: make(map[string]string)}
	for _, m := range maps {
		r.create(m)
	}
	return r
}

// create makes the store of a map.
func (r *replica) create(m Map) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[m.Name] = crdt.NewStore(m.KeyBytes, m.ValueBytes)
}

func (r *replica) Merge(ctx context.Context, name string, from Sender, entries []crdt.Entry) (deleted []crdt.Entry, err error) {
	r.mu.Lock()
	block, slow := r.block, r.slow
	r.merging++
	r.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	r.merging--
	defer r.mu.Unlock()
	if r.failing != nil {
		return nil, r.failing
	}
	is := "old"
	if from.Joining {
		is = "new"
	}
	if was := r.joining[name]; was == "" {
		r.joining[name] = is
	} else if !strings.HasSuffix(was, is) {
		r.joining[name] += "," + is
	}
	var fresh []crdt.Slot
	for _, e := range entries {
		slot, changed, err := r.stores[name].Merge(e)
		if errors.Is(err, crdt.ErrDeleted) {
			deleted = append(deleted, crdt.Entry{Key: bytes.Clone(e.Key), Version: e.Version, Deleted: true})
			continue
		}
		if err != nil {
			return nil, err
		}
		if changed {
			fresh = append(fresh, slot)
		}
	}
	r.merged += len(entries)
	r.cluster.Spread(name, fresh, from.Node)
	return deleted, nil
}

func (r *replica) Learn(_ context.Context, name string, report crdt.Report, complete bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[name].Learn(report, complete, time.Now().UnixNano(), func(crdt.Slot) bool { return false })
	return nil
}

func (r *replica) Read(_ context.Context, name string, fn func(*crdt.Store)) error {
	if free := r.busy.Load(); free != nil {
		<-*free
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(r.stores[name])
	return nil
}

// Inspect says of keys that end in an odd byte that they wait.
func (r *replica) Inspect(ctx context.Context, name string, fn func(*crdt.Store, func(crdt.Slot) (pending, evicted bool))) error {
	return r.Read(ctx, name, func(s *crdt.Store) {
		fn(s, func(slot crdt.Slot) (pending, evicted bool) {
			e, _ := s.At(slot)
			return e.Key[len(e.Key)-1]%2 == 1, false
		})
	})
}

func (r *replica) Held(ctx context.Context, name string, key []byte) (h Held, err error) {
	if len(key) != flows.KeyBytes {
		return Held{}, fmt.Errorf("a key of %d bytes", len(key))
	}
	r.mu.Lock()
	_, ok := r.stores[name]
	r.mu.Unlock()
	if !ok { // members may ask for anything
		return Held{}, fmt.Errorf("no map %q", name)
	}
	err = r.Read(ctx, name, func(s *crdt.Store) {
		if h.Entry, h.Known = s.Get(key); h.Known {
			h.Entry.Key, h.Entry.Value = bytes.Clone(h.Entry.Key), bytes.Clone(h.Entry.Value)
			h.Kernel = KernelValue{Read: true, Present: !h.Entry.Deleted, Value: h.Entry.Value}
		}
	})
	return h, err
}

func (r *replica) View(context.Context) (views []MapView, err error) {
	if free := r.deaf.Load(); free != nil {
		<-*free
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.stores)) {
		s := r.stores[name]
		v := MapView{Name: name, Digest: s.Digest()}
		v.Entries, v.Tombstones = s.Len()
		views = append(views, v)
	}
	return views, nil
}

// put makes a local change.
func (r *replica) put(name string, key, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := crdt.Entry{Key: key, Value: value, Deleted: value == nil,
		Version: crdt.Version{Time: r.clock.Now(time.Now().UnixNano()), Member: r.node}}
	slot, _, err := r.stores[name].Merge(e)
	if err != nil {
		panic(err)
	}
	r.cluster.Spread(name, []crdt.Slot{slot}, "")
}

// fill puts n entries without spreading them.
func (r *replica) fill(name string, n, seed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stores[name]
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(seed)<<32|uint64(i))
		e := crdt.Entry{Key: key, Value: bytes.Repeat([]byte{byte(i), byte(seed)}, flows.ValueBytes/2),
			Version: crdt.Version{Time: r.clock.Now(time.Now().UnixNano()), Member: r.node}}
		if _, _, err := s.Merge(e); err != nil {
			panic(err)
		}
	}
}

func (r *replica) len(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := r.stores[name].Len()
	return n
}

func (r *replica) digest(name string) crdt.Digest {
	var d crdt.Digest
	_ = r.Read(context.Background(), name, func(s *crdt.Store) { d = s.Digest() })
	return d
}

var flows = Map{Name: "flows", Type: "hash", KeyBytes: 8, ValueBytes: 16}
