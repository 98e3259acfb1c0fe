package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/mapgossip/mapgossip/crdt"
)

// Replica is the store as the network sees it. All methods must be safe for
// concurrent use and may block; they should return soon after ctx ends.
type Replica interface {
	// Merge takes entries that the member from sent, and returns
	// when they are merged: this is the back-pressure on that member. The
	// entries, their keys and their values are valid during the call only,
	// also when it returns early because ctx ended; strings may be kept.
	// deleted are those that had been deleted (crdt.ErrDeleted), as tombstones of
	// the same versions, with keys of their own: the member is told.
	Merge(ctx context.Context, mapName string, from Sender, entries []crdt.Entry) (deleted []crdt.Entry, err error)
	// Read calls fn with the map's store, which fn only reads, keeps nothing
	// of, and leaves within some milliseconds: merges wait for it.
	Read(ctx context.Context, mapName string, fn func(*crdt.Store)) error
	// Learn takes over what a member told of its Progress in the map. complete:
	// the store has all entries that the member's had at that moment, or newer
	// ones (crdt.Progress.Learn). It returns once the floor is raised, if it is.
	Learn(ctx context.Context, mapName string, r crdt.Report, complete bool) error
	// Inspect is Read with a function that reports whether the kernel map does not
	// have the entry in a slot yet, or let go of it.
	Inspect(ctx context.Context, mapName string, fn func(s *crdt.Store, lacks func(crdt.Slot) (pending, evicted bool))) error
	// Held tells what this member has of a key; what it returns is the caller's. An
	// error for a map that is not replicated here, and for a key of the wrong size.
	Held(ctx context.Context, mapName string, key []byte) (Held, error)
	// View tells of all maps, in an order that stays.
	View(ctx context.Context) ([]MapView, error)
}

// Sender is a member as a Replica has to know it.
type Sender struct {
	Node    string
	Joining bool // it has had no whole exchange of the map yet in this run
}

// Cluster is this member's side of the network. All methods are safe for
// concurrent use.
type Cluster struct {
	cfg       Config
	log       *slog.Logger
	replica   Replica
	self      meta
	name      string                 // memberlist's for this member
	maps      atomic.Pointer[mapSet] // stored with mu held
	list      *memberlist.Memberlist
	transport *transport          // nil with Config.Transport
	keyring   *memberlist.Keyring // nil without encryption
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)
	packet    int // bytes of a frame that fits one packet

	life           sync.Mutex      // memberlist must not leave once it is shut down
	ctx            context.Context // ends with Close
	cancel         context.CancelFunc
	wg             sync.WaitGroup
	counters       counters
	seq            atomic.Uint64
	columns        sync.Pool                      // of *columns
	decoders       sync.Pool                      // of *decoder
	routes         atomic.Pointer[map[*Map]route] // nil: to be worked out; stored with mu held
	serving        atomic.Int32                   // sessions begun by others
	deferred       atomic.Int32                   // exchanges put off in a row
	inboxBytes     atomic.Int64                   // that wait, see inbox
	running        atomic.Bool                    // frames are handled
	refusedSenders refusedSenders
	leaving        atomic.Bool
	ready          chan struct{} // closed once Ready is true

	exchanges chan *peer    // exchanges to run soon
	joining   chan struct{} // holds a token while an exchange fills maps of this member
	census    chan struct{} // a token: membership changed, look for duplicates
	news      chan struct{} // a token: somebody was met, make sure that others hear of it
	fatal     chan error    // what ends Run

	keys     sync.Mutex // held while the keyring changes, and until that is kept
	keysKept bool       // Config.KeepKeyring has the keys, or they come from there; guarded by keys

	mu         sync.Mutex
	closed     bool
	started    bool
	joined     time.Time          // when the first other member was met
	inboxSize  int                // bytes that may wait from one member
	states     uint64             // that were told
	since      map[string]int64   // by map name: when it was added, ns since the Unix epoch
	filled     map[string]bool    // by map name, as in fill.go
	rooms      map[string]Room    // by map name; a new one with each change
	lacking    []string           // maps that this member has no kernel map of; a new one with each change
	records    map[string]*record // by memberlist name
	refused    map[string]string  // by map name: why this member keeps it out
	duplicates map[string]string  // by node ID: what to tell
	strangers  []strangerFrame
	answers    map[uint64]chan state  // by nonce
	asks       map[uint64]*waitingAsk // by nonce
	differed   map[string]uint64      // by map name: Stats.Differences
	seeds      map[string]string      // seeds that fail, and why
	working    map[string]bool        // seeds that worked in the last round of joining
	reached    map[string]bool        // seeds that ever worked
	lookups    map[string]*lookup     // by seed
	lost       map[netip.AddrPort]lostMember
	attempts   map[netip.AddrPort]*attempt // to join, by address
	alone      bool                        // no seed but ourselves
	notes      []func()                    // log lines to write once unlocked
}

// Run joins, spreads and syncs until ctx ends (nil), Close is called (nil), or
// this member finds during start-up that its ID is alive elsewhere and was
// there first (ErrDuplicateNode). After Run has returned the member stays one,
// so that Leave can hand over, until Close. To be called once.
func (c *Cluster) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.started || c.closed {
		c.mu.Unlock()
		return errors.New("run cluster: it was run or closed before")
	}
	c.started = true
	c.alone = len(c.cfg.Seeds) == 0
	if c.alone {
		close(c.ready)
	}
	c.running.Store(true)
	c.fillAloneLocked()
	for _, r := range c.records {
		if r.peer != nil {
			c.startLocked(r.peer)
			c.requestExchange(r.peer)
		}
	}
	c.goLocked(c.joinLoop)
	c.goLocked(c.syncLoop)
	c.goLocked(c.censusLoop)
	c.goLocked(c.newsLoop)
	for range exchangeWorkers {
		c.goLocked(c.exchangeLoop)
	}
	c.mu.Unlock()

	select {
	case <-ctx.Done():
		return nil
	case <-c.ctx.Done():
		return nil
	case err := <-c.fatal:
		return err
	}
}

// goLocked starts a goroutine that Close waits for; it must end with c.ctx.
func (c *Cluster) goLocked(fn func()) {
	if !c.closed {
		c.wg.Go(fn)
	}
}

// launch is goLocked for callers without the mutex.
func (c *Cluster) launch(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goLocked(fn)
}

// startLocked starts what serves one peer.
func (c *Cluster) startLocked(p *peer) {
	c.goLocked(func() { c.spreadTo(p) })
	c.goLocked(func() { c.announceTo(p) })
	c.goLocked(func() { c.receiveFrom(p, p.in) })
	c.goLocked(func() { c.receiveFrom(p, p.asked) })
}

// Ready reports whether this member joined and completed a first exchange with
// one member, or has no seeds; otherwise the reasons in words. Once true it
// stays true.
func (c *Cluster) Ready() (bool, []string) {
	select {
	case <-c.ready:
		return true, nil
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		return false, []string{"not running yet"}
	}
	if !c.joined.IsZero() {
		return false, []string{"joined, but the first exchange with a member is not complete"}
	}
	reasons := []string{"no member reached yet of the seeds " + strings.Join(c.cfg.Seeds, ", ")}
	for seed, why := range c.seeds {
		reasons = append(reasons, "seed "+seed+": "+why)
	}
	return false, reasons
}

func (c *Cluster) becomeReady() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isReady() {
		return
	}
	close(c.ready)
	c.fillAloneLocked()
	if len(c.filled) < len(c.maps.Load().all) {
		c.announceLocked() // members that were not asked yet may have them
	}
}

func (c *Cluster) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// Close ends everything at once: to the others it looks like a crash, unless
// Leave came before. It waits for all goroutines. Idempotent.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	c.running.Store(false)
	c.mu.Unlock()
	c.cancel()
	c.life.Lock()
	err := c.list.Shutdown()
	c.life.Unlock()
	c.wg.Wait()
	if err != nil {
		return fmt.Errorf("close cluster: %w", err)
	}
	return nil
}

// noteLocked writes a log line after unlock: a log may be slow, and whoever receives
// it may ask the cluster something.
func (c *Cluster) noteLocked(write func()) { c.notes = append(c.notes, write) }

// unlock unlocks mu and writes the notes.
func (c *Cluster) unlock() {
	notes := c.notes
	c.notes = nil
	c.mu.Unlock()
	for _, write := range notes {
		write()
	}
}
