package mapgossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
)

// note is what the state directory holds beside entries (state.Dir.Meta).
type note struct {
	Known []string           `json:"known"` // addresses of members
	Maps  map[string]mapNote `json:"maps"`
}

type mapNote struct {
	Type       string      `json:"type"`
	KeyBytes   int         `json:"key_bytes"`
	ValueBytes int         `json:"value_bytes"`
	Boot       string      `json:"boot"` // which run of the kernel had the map, empty before it was read,
	ID         uint32      `json:"id"`   // and under which number
	Progress   crdt.Report `json:"progress"`
}

// CheckStateDir reports whether a Node could use the directory: the error wraps
// ErrConfig. At most it leaves a lock file there; what is not there stays so.
func CheckStateDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it will be made
	case err == nil && !info.IsDir():
		err = fmt.Errorf("%s is a file: name a directory", dir)
	case err == nil:
		var unlock func() error
		if unlock, err = state.OS(dir).Lock(); err == nil {
			return unlock()
		}
	}
	return fmt.Errorf("%w: state directory: %w", ErrConfig, err)
}

// openState opens the state directory and gives what it holds to the maps.
func (n *Node) openState() error {
	files := n.config.StateFS
	if files == nil {
		if n.config.StateDir == "" {
			return nil
		}
		files = state.OS(n.config.StateDir)
	}
	dir, saved, err := state.Open(files, state.Identity{Node: n.config.Node, Cluster: n.config.Cluster}, n.log)
	if errors.Is(err, state.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err != nil {
		return err
	}
	n.disk = &diskState{dir: dir}
	var kept note
	if saved.Meta != nil {
		if err := json.Unmarshal(saved.Meta, &kept); err != nil {
			n.log.Error("started without the saved state: what it says of maps and members cannot be read", "error", err)
			kept = note{}
		}
	}
	n.known = kept.Known
	n.addSaved(kept.Maps)
	for _, b := range n.maps {
		if was, ok := kept.Maps[b.Name]; ok {
			if err := n.restore(b, was, saved); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore takes over the entries of one map.
func (n *Node) restore(b *boundMap, was mapNote, saved *state.Saved) error {
	if was.Type != b.shape.Type || was.KeyBytes != b.shape.KeyBytes || was.ValueBytes != b.shape.ValueBytes {
		n.log.Warn("the saved state is of a map of another shape: it starts without", "map", b.Name,
			"saved", fmt.Sprintf("%s, key %d bytes, value %d bytes", was.Type, was.KeyBytes, was.ValueBytes))
		return nil
	}
	same := b.kernel != nil && was.ID == b.shape.ID && was.Boot != "" && was.Boot == n.kernel.Boot()
	b.beginRestore(same, was.Progress.Floor)
	highest, misfits := crdt.Timestamp{}, 0
	for e := range saved.Entries(b.Name) {
		if err := b.restore(e); errors.Is(err, crdt.ErrShape) {
			misfits++ // the map had another shape once, and no snapshot was made since
			continue
		} else if err != nil {
			return fmt.Errorf("restore entry of map %s: %w", b.Name, err)
		}
		if e.Version.Member == n.config.Node && e.Version.Time.Compare(highest) > 0 {
			highest = e.Version.Time
		}
	}
	if !same {
		b.assumeEmpty()
	}
	b.store.Resume(was.Progress, b.busy)
	if err := b.clock.Resume(highest, n.config.Now().UnixNano()); err != nil {
		n.log.Warn("the clock was set back since this member last ran, or was wrong then: it is followed", "map", b.Name, "error", err)
	}
	n.promise = max(n.promise, b.store.Progress().Has(n.config.Node))
	b.tended(n.promise)
	b.kept = &was
	live, tombstones := b.store.Len()
	if misfits > 0 {
		n.log.Warn("left out saved entries of another shape", "map", b.Name, "entries", misfits)
	}
	n.log.Info("state restored", "map", b.Name, "entries", live, "tombstones", tombstones, "same_kernel_map", same)
	return nil
}
