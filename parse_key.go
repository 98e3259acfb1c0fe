package mapgossip

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// ParseKey reads a key of a map. Text that is exactly the key's bytes in hex,
// with blanks and colons between them and 0x before them allowed, is those bytes,
// in the order in which they lie in memory. Where the map has BTF, other text is
// read by the key's type (layout.Layout.Parse): field=value,field=value of a
// struct, just the value of another type. The key of an LPM trie comes without the
// bits beyond its prefix.
//
// HAZARD: where the key is a number of four bytes, 00000010 is hex, and 10 and 0x10
// are numbers; where it is one byte, 10 is hex, too.
//
// ErrUnknownMap; ErrKey, with what is expected; ErrStopped.
func (n *Node) ParseKey(ctx context.Context, mapName, text string) ([]byte, error) {
	var shape mapwatch.Shape
	var kernel mapwatch.Map
	if err := n.with(ctx, mapName, func(b *boundMap) error {
		shape, kernel = b.shape, b.kernel
		return nil
	}); err != nil {
		return nil, err
	}
	if key, ok := hexBytes(text); ok && len(key) == shape.KeyBytes {
		return shape.Canonical(key), nil
	}
	p := printer{}
	p.use(kernel)
	if !p.key.Known() {
		return nil, fmt.Errorf("key %q of map %s: %w: want %d bytes in hex; there are no types to read it by: the map has none, or they may not be read without CAP_SYS_ADMIN when the map is opened", cutText(text), mapName, ErrKey, shape.KeyBytes)
	}
	key, err := p.key.Parse(text)
	if err == nil && len(key) != shape.KeyBytes {
		err = fmt.Errorf("it makes %d bytes", len(key))
	}
	if err != nil {
		return nil, fmt.Errorf("key %q of map %s: %w: %w; %d bytes in hex will do, too", cutText(text), mapName, ErrKey, err, shape.KeyBytes)
	}
	return shape.Canonical(key), nil
}

// hexBytes reads bytes in hex: groups of whole bytes, with blanks or colons
// between them, each with 0x before it or not.
func hexBytes(text string) ([]byte, bool) {
	var all []byte
	for group := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n:", r) }) {
		group = strings.TrimPrefix(strings.TrimPrefix(group, "0x"), "0X")
		some, err := hex.DecodeString(group)
		if err != nil || len(some) == 0 {
			return nil, false
		}
		all = append(all, some...)
	}
	return all, len(all) > 0
}

// cutText shortens what somebody typed for an error message.
func cutText(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}

// Layouts returns the types of a map's key and value; zero layouts where its BTF
// has none, and while the map is not there. ErrUnknownMap, ErrStopped.
func (n *Node) Layouts(ctx context.Context, mapName string) (key, value layout.Layout, err error) {
	var p printer
	var kernel mapwatch.Map
	if err := n.with(ctx, mapName, func(b *boundMap) error {
		kernel = b.kernel
		return nil
	}); err != nil {
		return layout.Layout{}, layout.Layout{}, err
	}
	p.use(kernel)
	return p.key, p.value, nil
}
