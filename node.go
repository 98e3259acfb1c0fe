package mapgossip

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Errors that callers of New and Run branch on, beside those of mapwatch and gossip.
var (
	// ErrConfig: the configuration is at fault, alone or beside the cluster's.
	ErrConfig = errors.New("configuration")
	// ErrStopped: the Node no longer runs.
	ErrStopped = errors.New("node has stopped")
)

const (
	tick          = time.Second            // retries, clock offset, housekeeping
	settleTick    = 2 * time.Millisecond   // while keys are unsettled
	applyLimit    = 4096                   // writes handed to the kernel at a time
	mergeLimit    = 4096                   // remote entries merged at a time
	lookLimit     = 1024                   // keys looked at in one settle tick
	retryLimit    = 256                    // entries that could not be applied, tried again a tick
	retryWalk     = 64 << 10               // keys that retry passes over a tick, at most
	minRetention  = 30 * time.Second       // what is remembered of a quiet key, at least
	leaveTimeout  = 9 * time.Second        // handing over and leaving
	flushTimeout  = 3 * time.Second        // of it, for the kernel's last changes
	refusedLeave  = 2 * time.Second        // leaving when the cluster refuses this member
	minScanTick   = 10 * time.Millisecond  // between looks whether a scan is due
	callQueue     = 16                     // calls that may wait for the owner
	refusalWindow = 500 * time.Millisecond // between looks at what the cluster refuses, during start-up
)

// Node keeps the maps of one host equal to those of the other members. All
// methods are safe for concurrent use.
//
// One goroutine, the owner, does every merge and every apply, so that the
// order of kernel writes is the order of merges. Everything else asks it
// through call.
type Node struct {
	config  Config
	log     *slog.Logger
	kernel  mapwatch.Kernel
	owned   bool // kernel is ours to close
	cluster *gossip.Cluster
	hlc     *crdt.Clock  // of all maps
	seed    maphash.Seed // of all maps
	disk    *diskState   // nil without a state directory
	started time.Time

	calls   chan func()
	done    chan struct{} // closed when the owner has ended
	scans   sync.WaitGroup
	closing sync.Once
	begun   atomic.Bool // Run was called, or never will be

	// Only the owner touches what follows, after New.
	maps   []*boundMap // all of which it is known what they are
	byName map[string]*boundMap
	absent []absentMap
	upto   int64 // boot: records before it are processed

	watch        mapwatch.Watch        // nil: there is nothing to watch
	batches      <-chan mapwatch.Batch // of watch, until it is closed
	captures     []*boundMap           // the maps of watch, by its indexes
	rewatching   bool                  // another Watch is being made
	rewatchAt    int64                 // boot: when that is due; 0: it is not
	captureError error                 // why there is no Watch
	followed     int                   // followers of all maps
	imported     bool                  // what the maps held at the start was read

	time *timekeeper

	toldClock clockRelation // that the log has

	began    int64    // boot: when New was called
	promise  int64    // wall: nothing is stamped up to it any more
	promised int64    // boot: when that was said
	unmet    []string // seeds that nobody answered at yet, and that deletes wait for
	known    []string // addresses of members, for the next run
}

// boundMap is one configured map with its kernel map and its mirror.
type boundMap struct {
	MapConfig
	*mirror
	index        int          // in Node.captures; -1: not there
	kernel       mapwatch.Map // nil: the target leads to no map
	shape        mapwatch.Shape
	late         bool     // the cluster was not told of the map at the start
	boundLate    bool     // late once
	alone        error    // why the cluster does not take the map; nil: it does, or was not told
	since        int64    // boot: what was captured before is no matter of this kernel map
	watchedOnce  bool     // a Watch had this kernel map
	notBefore    int64    // boot: the target is not looked at before
	importing    bool     // the first scan is under way, after the start
	imported     bool     // the first scan is done
	kept         *mapNote // what was restored, until then
	scanning     bool
	rescan       bool       // something was lost: scan as soon as the present scan is over
	searching    bool       // and the present scan is for that
	drained      bool       // that were many deletes
	asked        *askedScan // the next scan, for which somebody waits; nil: nobody does
	scanInterval time.Duration
	retired      mapwatch.Counts // of watches that ended
	lastScan     time.Time
	scannedAt    int64       // boot: lastScan, which the wall clock may leave far ahead
	forgot       int64       // boot: when quiet keys were last forgotten
	won          []crdt.Slot // of the batch in hand: new entries, to be spread
	gone         error       // why the kernel map is not bound
	told         string      // the error that the log has
	futures      futures

	followers   []*follower
	notices     []notice // of this turn of the owner, for the followers; none without followers
	noticeBytes int      // of their keys and values
}

// New opens the maps, starts capture and binds the address. Nothing is sent
// before Run. Errors wrap ErrConfig, or a sentinel of mapwatch (ErrNotFound,
// ErrNotMap, ErrType, ErrPermission, ErrUnsupported, …) or gossip
// (ErrAddressInUse). A Node that New returned must be given to Run or Close.
func New(config Config) (_ *Node, err error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	n := &Node{
		config: config,
		log:    config.Logger,
		kernel: config.Kernel,
		calls:  make(chan func(), callQueue),
		done:   make(chan struct{}),
		byName: make(map[string]*boundMap),
		time:   newTimekeeper(config.MaxClockSkew),
		hlc:    crdt.NewClock(config.MaxClockSkew),
		seed:   maphash.MakeSeed(),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.config.Now == nil {
		n.config.Now = time.Now
	}
	n.started = n.config.Now()
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.kernel == nil {
		if n.kernel, err = mapwatch.OpenHost(); err != nil {
			return nil, err
		}
		n.owned = true
	}
	n.began = n.kernel.Now()
	n.promised = n.began
	if err := n.openMaps(); err != nil {
		return nil, err
	}
	if err := n.openState(); err != nil {
		return nil, err
	}
	w, err := n.openWatch(slices.Collect(n.withKernel()))
	if err != nil {
		return nil, err
	}
	n.watched(w, slices.Collect(n.withKernel()))
	if n.cluster, err = gossip.Open(n.gossipConfig(), replica{n}); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) gossipConfig() gossip.Config {
	c := gossip.DefaultConfig()
	c.Node, c.Cluster, c.Version = n.config.Node, n.config.Cluster, n.config.Version
	c.Bind, c.Advertise = n.config.Bind, n.config.Advertise
	c.Seeds, c.Known, c.Keyring = n.config.Join, n.known, n.config.Keyring
	c.SyncInterval, c.KeepKeyring = n.config.SyncInterval, n.config.KeepKeyring
	c.Logger, c.Transport, c.Now, c.Boot = n.log, n.config.Transport, n.config.Now, n.kernel.Now
	for _, b := range n.maps {
		c.Maps = append(c.Maps, n.gossipMap(b))
	}
	return c
}

// Run replicates until ctx ends; then it hands over what others lack, leaves
// the cluster and returns nil, within 10 s. An error means that it could not
// go on: gossip.ErrDuplicateNode, or ErrConfig when the cluster refused every
// map. A second Run, or one after Close, returns ErrStopped.
func (n *Node) Run(ctx context.Context) error {
	if !n.begun.CompareAndSwap(false, true) {
		return ErrStopped
	}
	defer n.Close()
	running, stop := context.WithCancelCause(context.Background())
	var group sync.WaitGroup
	group.Go(func() { n.own(running) })
	group.Go(func() {
		// The cluster starts with what the maps held before: import first.
		if err := n.importMaps(running); err != nil {
			stop(err)
			return
		}
		group.Go(func() { n.watchRefusals(running, stop) })
		stop(n.cluster.Run(running)) // nil: closed by somebody else
	})

	select {
	case <-ctx.Done():
		n.leave()
		stop(nil)
	case <-running.Done():
	}
	group.Wait()
	err := context.Cause(running)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil { // the others must not take this for a crash
		ctx, cancel := context.WithTimeout(context.Background(), refusedLeave)
		defer cancel()
		if left := n.cluster.Leave(ctx); left != nil {
			n.log.Debug("leave cluster", "error", left)
		}
	}
	return err
}

// leave gives the last changes to the cluster and leaves it.
func (n *Node) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := n.flush(ctx); err != nil {
		n.log.Warn("the last changes may not be handed over", "error", err)
	}
	_ = n.call(ctx, func() { // the others learn it when digests are compared for the last time
		n.promise = max(n.promise, n.wall(n.kernel.Now())) // all is flushed
		for _, b := range n.maps {
			p := b.store.Progress()
			p.Tend(n.config.Node, n.promise, n.promise, nil, n.config.ForgetAfter, true)
			b.tended(n.promise)
			p.Remove(n.config.Node, n.promise)
		}
	})
	if err := n.cluster.Leave(ctx); err != nil {
		n.log.Warn("leave cluster", "error", err)
	}
}

// flush merges every change that was made to the maps so far: those that the
// kernel has told of, and those that only a scan finds.
func (n *Node) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := n.until(ctx, func() bool { return !n.rewatching }); err != nil {
		return err
	}
	var due []*boundMap
	if err := n.call(ctx, func() {
		for b := range n.withKernel() {
			mode, _ := n.capture(b)
			if b.imported && (b.rescan || b.searching || mode != mapwatch.ModeFexit && mode != mapwatch.ModeFentry) {
				due = append(due, b)
			}
		}
	}); err != nil {
		return err
	}
	for _, b := range due {
		if err := n.scan(ctx, b, scanLast, nil); err != nil && !errors.Is(err, errReplaced) {
			return err
		}
	}
	target := n.kernel.Now()
	return n.until(ctx, func() bool {
		n.barrier()
		return (n.watch == nil || n.upto >= target) && !n.unsettled()
	})
}

// until asks the owner again and again, until reached says so.
func (n *Node) until(ctx context.Context, reached func() bool) error {
	for {
		done := false
		if err := n.call(ctx, func() { done = reached() }); err != nil || done {
			return err
		}
		if err := rest(ctx, settleTick); err != nil {
			return err
		}
	}
}

// Close releases what New opened. Run does so itself. Idempotent.
func (n *Node) Close() error {
	var errs []error
	n.closing.Do(func() {
		if n.begun.CompareAndSwap(false, true) {
			close(n.done) // no owner will
		}
		if n.cluster != nil {
			errs = append(errs, n.cluster.Close()) // ends Run, if that is under way
		}
		<-n.done
		n.scans.Wait()
		if n.watch != nil {
			errs = append(errs, n.watch.Close())
			n.takeRest()
		}
		errs = append(errs, n.closeState())
		for b := range n.withKernel() {
			errs = append(errs, b.kernel.Close())
		}
		if n.owned {
			errs = append(errs, n.kernel.Close())
		}
	})
	return errors.Join(errs...)
}

// SetKeyring replaces the keys that members encrypt with, as
// gossip.Cluster.SetKeyring does: the first one encrypts from now on, all decrypt.
func (n *Node) SetKeyring(keys [][]byte) error { return n.cluster.SetKeyring(keys) }

// call runs f on the owner goroutine and waits for it.
func (n *Node) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	var taken atomic.Bool // by the owner, which runs f, or by us, and then nobody does
	select {
	case n.calls <- func() {
		if taken.CompareAndSwap(false, true) {
			f()
			close(ran)
		}
	}:
	case <-n.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var err error
	select {
	case <-ran:
		return nil
	case <-n.done:
		err = ErrStopped
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if taken.CompareAndSwap(false, true) {
		return err
	}
	<-ran // f is running: what it writes must not be read before it is done
	return nil
}

// watchRefusals ends a Node all of whose maps the cluster refuses during its
// start-up: there is nothing that it could do.
func (n *Node) watchRefusals(ctx context.Context, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(refusalWindow)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if refused := n.cluster.Refused(); len(refused) == len(n.config.Maps) {
			var sentences []string
			for name, why := range refused {
				sentences = append(sentences, name+": "+why)
			}
			stop(fmt.Errorf("%w: the cluster refuses every map of this member: %s", ErrConfig, strings.Join(sentences, "; ")))
			return
		}
		if ready, _ := n.cluster.Ready(); ready && n.config.Now().Sub(n.started) > 10*time.Second {
			return
		}
	}
}
