package gossip

import (
	"errors"
	"net"
	"sync/atomic"
)

const (
	// What the multiplexer holds that no stream has read yet: beyond
	// freeUnreadBytes, connections with more are cut while all together are over
	// maxUnreadBytes.
	maxUnreadBytes  = 64 << 20
	freeUnreadBytes = 256 << 10 // the window of one stream
)

var errUnreadBudget = errors.New("too many bytes that no stream has read")

// inflow is an inbound connection. The multiplexer reads ahead: a window for each
// stream, accepted or not, which from anybody who reaches the port adds up to
// gigabytes.
type inflow struct {
	guardedConn
	all    *atomic.Int64 // unread of all connections
	unread atomic.Int64  // of this one, with the multiplexer's own headers
}

func (f *inflow) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	mine, all := f.unread.Add(int64(n)), f.all.Add(int64(n))
	if all > maxUnreadBytes && mine > freeUnreadBytes {
		return 0, errUnreadBudget
	}
	return n, err
}

// took notes that a stream has read.
func (f *inflow) took(n int) {
	f.unread.Add(int64(-n))
	f.all.Add(int64(-n))
}

// empty notes that no stream is open, so that nothing waits.
func (f *inflow) empty() { f.all.Add(-f.unread.Swap(0)) }

var _ net.Conn = (*inflow)(nil)
