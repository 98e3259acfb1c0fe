package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip"
)

// fillTimeout is what status waits for to say how far the first exchange is; the
// agent gives the others 3 s.
const fillTimeout = 5 * time.Second

// viewsReply is the answer to /debug/convergence.
type viewsReply struct {
	Members []mapgossip.View `json:"members"`
}

// filling says of each map how much of what other members hold is here, while
// this one is not ready because of them. Nothing if nobody can tell.
func filling(ctx context.Context, at endpoint, s mapgossip.Status) []string {
	others := false
	for _, m := range s.Members {
		others = others || !m.Self && m.State == "alive"
	}
	if s.Ready || !others {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	r, err := ask(ctx, at, "/debug/convergence")
	if err != nil {
		return nil
	}
	var a viewsReply
	if decode(r.body, &a) != nil {
		return nil
	}
	return fillWords(s.Maps, a.Members)
}

func fillWords(maps []mapgossip.MapStatus, views []mapgossip.View) (texts []string) {
	most := make(map[string]int)
	for _, v := range views {
		for _, m := range v.Maps {
			if !v.Self {
				most[m.Name] = max(most[m.Name], m.Entries)
			}
		}
	}
	for _, m := range maps {
		if m.Entries < most[m.Name] {
			texts = append(texts, fmt.Sprintf("map %s: filling: %s", m.Name, share(int64(m.Entries), int64(most[m.Name]), "entries")))
		}
	}
	return texts
}
