package gossip

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxRefusedSenders = 64
	refusedFor        = time.Minute // how long a sender is told of after its last packet or stream
)

// refusedSenders remembers which hosts send what no member of this cluster
// sends: encrypted with another key, in the clear or not unlike here, or under
// another cluster's name. Safe for concurrent use.
type refusedSenders struct {
	mu      sync.Mutex
	senders map[refusedSender]time.Time // when it last sent
}

type refusedSender struct{ host, why string }

// Why the lines of memberlist say that something was refused, in the words of
// who has to mend it.
const (
	otherKey     = "is encrypted with none of the keys here, or not at all: give both the same --keyring"
	encrypted    = "is encrypted, and this member has no --keyring: give both the same"
	otherCluster = "is of another cluster: is --cluster the same on both, and --join meant for this one?"
)

// whyRefused reads a line of memberlist's; empty for lines of something else.
//
// HAZARD: the wording is memberlist v0.7.0's (net.go, security.go). Where it
// changes the sender is not told of; TestRecycledAddress notices.
func whyRefused(line string) string {
	switch {
	case strings.Contains(line, "Decrypt packet failed"), strings.Contains(line, "no installed keys could decrypt"),
		strings.Contains(line, "remote state is not encrypted"):
		return otherKey
	case strings.Contains(line, "remote state is encrypted"):
		return encrypted
	case strings.Contains(line, "with unacceptable label"):
		return otherCluster
	}
	return ""
}

// note takes a line of memberlist's.
func (r *refusedSenders) note(line string, now time.Time) {
	why := whyRefused(line)
	_, from, told := strings.Cut(line, "from=")
	if why == "" || !told {
		return
	}
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := refusedSender{from, why}
	if _, known := r.senders[s]; !known && len(r.senders) >= maxRefusedSenders {
		r.forgetLocked(now)
		if len(r.senders) >= maxRefusedSenders {
			return
		}
	}
	if r.senders == nil {
		r.senders = make(map[refusedSender]time.Time)
	}
	r.senders[s] = now
}

func (r *refusedSenders) forgetLocked(now time.Time) {
	for s, last := range r.senders {
		if now.Sub(last) > refusedFor {
			delete(r.senders, s)
		}
	}
}

// sentences tells of who was refused in the last minute, by host.
func (r *refusedSenders) sentences(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(now)
	list := make([]refusedSender, 0, len(r.senders))
	for s := range r.senders {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b refusedSender) int {
		return cmp.Or(strings.Compare(a.host, b.host), strings.Compare(a.why, b.why))
	})
	sentences := make([]string, len(list))
	for i, s := range list {
		sentences[i] = fmt.Sprintf("what %s sends %s", s.host, s.why)
	}
	return sentences
}

// RefusedSenders says which hosts sent, within the last minute, what no member
// of this cluster sends, and why it was refused: a sentence each, at most 64.
// Addresses of packets can be forged. Safe for concurrent use; does not block.
func (c *Cluster) RefusedSenders() []string { return c.refusedSenders.sentences(c.cfg.Now()) }
