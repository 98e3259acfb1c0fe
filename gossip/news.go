package gossip

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// A member that heard of another one compares all that it knows of membership
	// with newsRounds others, the first within newsFirst, the others newsMin to
	// newsMax apart.
	newsRounds = 3
	newsFirst  = 200 * time.Millisecond
	newsMin    = 500 * time.Millisecond
	newsMax    = 2 * time.Second
	// newsMembers of a larger cluster do so.
	newsMembers = 16
)

func (c *Cluster) wakeNews() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// newsLoop makes sure of what memberlist's gossip tells: each piece of news is
// sent a few times to random members and now and then misses one, which would
// learn of a member only by one of the next push/pulls, tens of seconds later.
// So whoever heard of a member soon does a few more of them.
func (c *Cluster) newsLoop() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.news:
		}
		wait := rand.N(newsFirst)
		asked := make(map[string]bool, newsRounds)
		for range newsRounds {
			if !pause(c.ctx, wait) || c.leaving.Load() {
				return
			}
			wait = newsMin + rand.N(newsMax-newsMin)
			peers := slices.DeleteFunc(c.peers(), func(p *peer) bool { return asked[p.addr] || p.isStalled() })
			if len(peers) == 0 || len(peers)+len(asked) < 2 || rand.IntN(len(peers)) >= newsMembers {
				continue // the only other one told us, or enough others ask
			}
			p := peers[rand.IntN(len(peers))]
			asked[p.addr] = true
			c.launch(func() { // it may hang for 20 s
				if _, err := c.list.Join([]string{p.addr}); err != nil {
					c.log.Debug("membership not compared", "member", p.Node, "addr", p.addr, "error", err)
				}
			})
		}
	}
}
