//go:build guest

package mapwatch

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mapgossip/mapgossip/test/need"
)

// A map that takes another's place is captured in its stead, by this watch and by
// the one that takes a pinned capture over.
func TestReplace(t *testing.T) {
	for _, kind := range []string{TypeHash, TypeArray} {
		for _, pinned := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/pinned=%v", kind, pinned), func(t *testing.T) {
				h := openTestHost(t)
				options := Options{Mode: ModeFexit}
				if pinned {
					options.Pins = need.BPFFS(t) + "/pins"
				}
				other, otherOpened := newTypedMap(t, h, kind, 100)
				old, oldOpened := newTypedMap(t, h, kind, 100)
				m, opened := newTypedMap(t, h, kind, 100)
				_, larger := newTypedMap(t, h, kind, 200)
				_, another := newTestMap(t, h, 4, 8, 100)
				w := startPinnedWatch(t, h, options, otherOpened, oldOpened)
				w.sync()
				w.rescan = nil
				key := typedKey(kind, 1)

				for what, err := range map[string]error{
					"other sizes": w.Replace(1, another),
					"watched":     w.Replace(1, otherOpened),
					"no index":    w.Replace(2, opened),
				} {
					if err == nil || what == "other sizes" && !errors.Is(err, ErrUnsupported) {
						t.Errorf("%s: %v", what, err)
					}
				}
				must(t, w.Replace(1, larger)) // max_entries may differ
				must(t, w.Replace(1, opened))
				w.untilRescan(1)
				w.wantRescan("replaced", 1)
				must(t, old.Put(key, key32(1)))
				w.want("the old map")
				must(t, m.Put(key, key32(2)))
				must(t, other.Put(key, key32(3)))
				w.want("the new map", fmt.Sprintf("1 update %x=%x", key, key32(2)), fmt.Sprintf("0 update %x=%x", key, key32(3)))
				ops := []Op{{Key: key, Value: key32(4)}}
				opened.Apply(ops)
				must(t, ops[0].Err)
				w.want("own")
				links := w.linkIDs()
				w.finish()
				if !pinned {
					return
				}

				must(t, m.Put(key, key32(5)))
				w = startPinnedWatch(t, h, options, otherOpened, opened)
				w.want("taken over", fmt.Sprintf("1 update %x=%x", key, key32(5)))
				w.wantRescan("taken over")
				for name, id := range w.linkIDs() {
					if links[name] != id {
						t.Errorf("link %s is %d, was %d", name, id, links[name])
					}
				}
				if got := setsIn(t, options.Pins); len(got) != 1 {
					t.Errorf("sets %q", got)
				}
			})
		}
	}
}

func TestReplaceByScan(t *testing.T) {
	h := openTestHost(t)
	_, old := newTestMap(t, h, 4, 4, 4)
	_, opened := newTestMap(t, h, 4, 4, 4)
	_, another := newTestMap(t, h, 4, 8, 4)
	w := startTestWatch(t, h, Options{Mode: ModeScan}, old)
	mustFail(t, w.Replace(0, another), ErrUnsupported)
	must(t, w.Replace(0, opened))
	w.untilRescan(0)
}
