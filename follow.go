package mapgossip

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Change is a change of a map as it happens. The JSON names are a contract.
type Change struct {
	Entry
	Origin string  `json:"origin"` // local: captured here; remote: another member told of it
	From   string  `json:"from"`   // of a remote one, the member that told
	LagMS  float64 `json:"lag_ms"` // from the entry's time to the moment it was merged here; 0 if nobody knows that time
	Writer *Writer `json:"writer"` // of a local one that a hook saw; else null
	Lost   uint64  `json:"lost"`   // changes that were left out before this one, because the reader was slow
}

// Origins of a Change.
const (
	OriginLocal  = "local"
	OriginRemote = "remote"
)

// Writer says who made a local change. The JSON names are a contract.
type Writer struct {
	Source  string `json:"source"`  // syscall, program, or program in an interrupt: mapwatch.Source
	PID     int    `json:"pid"`     // of the process, in the initial PID namespace; in an interrupt that of whoever was interrupted
	Process string `json:"process"` // its name (comm, up to 15 bytes); empty: not known
	CPU     int    `json:"cpu"`
}

// Follow calls fn with each change of a map that wins, local and remote, from now
// on, until ctx ends (nil) or fn returns an error, which it returns too. A change
// that loses to a newer entry changes nothing and is not told. One that is told is
// as it was merged, and Pending says whether the kernel refused it then.
//
// fn may take its time: up to followQueue changes, and followBytes of keys and
// values, wait for it. Then the oldest are left out, so that the latest always
// comes, with Lost. Changes come in the order in which they were merged.
//
// While nobody follows, nothing is done for it; while somebody does, the kernel
// names the writers of all maps (mapwatch.Watch.NameWriters).
//
// ErrUnknownMap, ErrStopped.
func (n *Node) Follow(ctx context.Context, mapName string, fn func(Change) error) error {
	f := &follower{wake: make(chan struct{}, 1)}
	var b *boundMap
	if err := n.with(ctx, mapName, func(its *boundMap) error {
		b = its
		n.follow(b, f)
		return nil
	}); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() {
		_ = n.call(context.WithoutCancel(ctx), func() { n.unfollow(b, f) }) // ErrStopped: nobody is left to tell
	}()
	p := printer{mapName: mapName}
	for ctx.Err() == nil {
		if x, lost, ok := f.take(); ok {
			if err := fn(p.change(x, lost)); err != nil {
				return err
			}
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		case <-n.done:
			if f.empty() {
				return ErrStopped
			}
		}
	}
	return nil
}

// follow takes up a follower of a map.
func (n *Node) follow(b *boundMap, f *follower) {
	b.followers = append(b.followers, f)
	if n.followed++; n.followed == 1 {
		n.nameWriters()
	}
}

// unfollow ends what follow began.
func (n *Node) unfollow(b *boundMap, f *follower) {
	b.followers = slices.DeleteFunc(b.followers, func(other *follower) bool { return other == f })
	if len(b.followers) == 0 {
		b.followers, b.notices, b.noticeBytes = nil, nil, 0
	}
	if n.followed--; n.followed == 0 {
		n.nameWriters()
	}
}

// nameWriters asks the Watch for the writers' names as long as somebody follows.
// One that is on its way out is left alone: watched asks the next one.
func (n *Node) nameWriters() {
	if n.watch != nil && !n.rewatching {
		n.watch.NameWriters(n.followed > 0)
	}
}

// change puts x into words.
func (p *printer) change(x notice, lost uint64) Change {
	p.use(x.kernel)
	c := Change{Entry: p.entry(x.copied), Origin: OriginLocal, Lost: lost}
	if x.from != "" {
		c.Origin, c.From = OriginRemote, x.from
	}
	if x.Version.Time.Wall != 0 {
		c.LagMS = milliseconds(time.Duration(x.merged - x.Version.Time.Wall))
	}
	if x.hooked {
		c.Writer = x.writer.words()
	}
	return c
}

// writer is who made a captured change, as mapwatch.Change has it.
type writer struct {
	source mapwatch.Source
	pid    uint32
	cpu    uint32
	comm   [16]byte
}

func (w writer) words() *Writer {
	comm, _, _ := bytes.Cut(w.comm[:], []byte{0})
	return &Writer{Source: w.source.String(), PID: int(w.pid), Process: string(comm), CPU: int(w.cpu)}
}
