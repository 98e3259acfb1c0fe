package mapgossip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Errors of those methods that take the name of a map, a key or a member.
var (
	// ErrUnknownMap: no map of that name is replicated here.
	ErrUnknownMap = errors.New("unknown map")
	// ErrUnknownKey: neither the store nor the kernel map has the key.
	ErrUnknownKey = errors.New("unknown key")
	// ErrKey: the text is no key of the map.
	ErrKey = errors.New("malformed key")
	// ErrUnknownMember: there is no living member of that name.
	ErrUnknownMember = errors.New("unknown member")
)

// Entry is one key of a map as a member holds it. The JSON names are a contract.
type Entry struct {
	Map       string       `json:"map"`
	Key       string       `json:"key"`        // in hex
	KeyText   string       `json:"key_text"`   // by the types that the map has in its BTF; empty: it has none
	Value     string       `json:"value"`      // in hex; empty in a tombstone
	ValueText string       `json:"value_text"` // as KeyText
	Deleted   bool         `json:"deleted"`    // a tombstone
	Node      string       `json:"node"`       // the member that captured the change; empty: there is no entry, just what Kernel says
	Time      time.Time    `json:"time"`       // when, by the cluster's clock; 1970: before the map's first agent started
	Logical   uint32       `json:"logical"`    // of versions of one time the greater is newer
	Pending   bool         `json:"pending"`    // not in this member's kernel map yet
	Evicted   bool         `json:"evicted"`    // this member's kernel let go of it to make room
	Kernel    *KernelValue `json:"kernel"`     // what the kernel map holds; null where that was not asked for, or the map is not there or cannot be read
}

// KernelValue is what a kernel map holds for a key. The JSON names are a contract.
type KernelValue struct {
	Present   bool   `json:"present"`
	Value     string `json:"value"`      // in hex
	ValueText string `json:"value_text"` // as Entry.ValueText
}

// Entry returns what this member has of a key, and what its kernel map holds; the
// two are of one moment, in which no apply is under way. A tombstone is an entry.
// ErrUnknownMap; ErrKey for a key of the wrong size; ErrUnknownKey; ErrStopped.
func (n *Node) Entry(ctx context.Context, mapName string, key []byte) (Entry, error) {
	h, shape, kernel, err := n.held(ctx, mapName, key)
	if err != nil {
		return Entry{}, err
	}
	key = shape.Canonical(key)
	p := printer{mapName: mapName}
	p.use(kernel)
	e := p.held(key, h)
	if e == nil {
		return Entry{}, fmt.Errorf("key %x of map %s: %w: neither this member nor its kernel map has it", key, mapName, ErrUnknownKey)
	}
	return *e, nil
}

// lookForShow is lookTwice for somebody who just wants to see: a key that is
// overwritten all the time shows what it held last.
func (n *Node) lookForShow(b *boundMap, key []byte) (content, bool) {
	if found, ok := n.lookTwice(b, key); ok {
		return found, true
	}
	value, err := b.kernel.Lookup(key)
	if err != nil && !errors.Is(err, mapwatch.ErrNotFound) {
		return content{}, false
	}
	return content{err == nil, value}, true
}

// with runs f with the map of that name on the owner and returns its error.
// ErrUnknownMap for a map that is not configured, or of which nobody knows yet
// what it is.
func (n *Node) with(ctx context.Context, mapName string, f func(*boundMap) error) error {
	var failed error
	if err := n.call(ctx, func() {
		if b := n.byName[mapName]; b != nil {
			failed = f(b)
		} else {
			failed = n.unknownMap(mapName)
		}
	}); err != nil {
		return err
	}
	return failed
}

func (n *Node) unknownMap(mapName string) error {
	for _, a := range n.absent {
		if a.Name == mapName {
			return fmt.Errorf("map %s: %w so far: %w", mapName, ErrUnknownMap, a.why)
		}
	}
	names := make([]string, len(n.config.Maps))
	for i, c := range n.config.Maps {
		names[i] = c.Name
	}
	return fmt.Errorf("map %q: %w: this member replicates %s", mapName, ErrUnknownMap, strings.Join(names, ", "))
}
