package gossip

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	repeatAfter = 10 * time.Second
	maxTopics   = 256
)

// logBridge turns the lines of memberlist and yamux into records: membership
// noise at debug, what an operator can mend at warn, each kind at most once in
// ten seconds with the number left out. Safe for concurrent use.
type logBridge struct {
	cluster *Cluster // told of suspicions and of refused senders; may be nil
	log     *slog.Logger
	now     func() time.Time

	mu     sync.Mutex
	topics map[string]*topic
}

type topic struct {
	last time.Time
	held int
}

// worthWarning are the lines that mean a fault outside this process.
func worthWarning(line string) bool {
	for _, part := range []string{
		"unacceptable label", "label header", "ecrypt", "ignoring alive message", "is incompatible",
		"handler queue full", "UDP probes failed", "Too many pending", "invalid msgType", "not supported",
		"without encryption", "exceeds limit", "larger than limit", "Conflicting address",
		"Error accepting", "Error reading", "Failed to decode", "failed to receive",
	} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

func (b *logBridge) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	if rest, ok := strings.CutPrefix(line, "[INFO] memberlist: Suspect "); ok && b.cluster != nil {
		// HAZARD: the only way to learn of a suspicion, see doc.go.
		if name, _, ok := strings.Cut(rest, " has failed"); ok {
			b.cluster.suspect(name, true)
		}
	}
	if b.cluster != nil {
		b.cluster.refusedSenders.note(line, b.cluster.cfg.Now())
	}
	level := slog.LevelDebug
	if worthWarning(line) {
		level = slog.LevelWarn
	}
	if !b.log.Enabled(context.Background(), level) {
		return len(p), nil
	}
	if level == slog.LevelDebug {
		b.log.Debug("network", "line", line)
		return len(p), nil
	}
	held, ok := b.admit(line)
	if !ok {
		return len(p), nil
	}
	if held > 0 {
		b.log.Warn("network", "line", line, "repeated", held)
	} else {
		b.log.Warn("network", "line", line)
	}
	return len(p), nil
}

// admit reports whether a line of this kind is due, and how many were held back.
func (b *logBridge) admit(line string) (held int, ok bool) {
	key := withoutDigits(line)
	key = key[:min(len(key), 48)]
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[key]
	if t == nil {
		if len(b.topics) >= maxTopics || b.topics == nil {
			b.topics = make(map[string]*topic)
		}
		b.topics[key] = &topic{last: now}
		return 0, true
	}
	if now.Sub(t.last) < repeatAfter {
		t.held++
		return 0, false
	}
	held, t.held, t.last = t.held, 0, now
	return held, true
}

// withoutDigits is the same for lines that differ in addresses and counts only.
func withoutDigits(line string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, line)
}
