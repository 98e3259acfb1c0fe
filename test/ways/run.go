//go:build linux

package ways

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Options choose what Run does. The zero value means all.
type Options struct {
	Folder string   // for pins: a directory of a bpffs, made if it is not there
	Types  []string // names; empty: all, those that are refused too
	Ways   []string // names; empty: all
	Log    *slog.Logger
}

// Run does every way on every type and passes the cells on. What is not as it
// should be is a cell of outcome Unknown; an error means that there is nothing to
// tell. It takes a minute or two under emulation.
func Run(ctx context.Context, o Options, tell func(Cell)) error {
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return err
	}
	r := &runner{Options: o, tell: tell}
	if err := r.open(); err != nil {
		return err
	}
	left, err := r.round(ctx, r.cellsWanted(), rarely)
	if err != nil {
		return err
	}
	if _, err = r.round(ctx, left, scanInterval); err != nil {
		return err
	}
	if err := r.lives(ctx); err != nil {
		return err
	}
	if len(o.Ways) > 0 { // nothing is done to types that are refused
		return nil
	}
	for _, k := range refusedKinds() {
		if wanted(o.Types, k.name) {
			r.tell(k.try())
		}
	}
	return nil
}

type runner struct {
	Options
	tell  func(Cell)
	types []Type // that this kernel has and mapgossip replicates
}

// place is a cell that is still to be measured.
type place struct {
	Type
	Way
}

func wanted(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

// open tries each type on its own, so that one that is not supported spoils no
// others.
func (r *runner) open() error {
	for _, t := range Types() {
		if !wanted(r.Options.Types, t.Name) {
			continue
		}
		outcome, reason := tryType(t)
		if outcome == "" {
			r.types = append(r.types, t)
			continue
		}
		for _, w := range append(Ways(), Lives()...) {
			if wanted(r.Options.Ways, w.Name) {
				r.tell(Cell{Type: t.Name, Way: w.Name, Outcome: outcome, Reason: reason})
			}
		}
	}
	return nil
}

// tryType makes and opens a map of the type. No outcome: it can be used.
func tryType(t Type) (Outcome, string) {
	m, err := t.create("try")
	if err != nil {
		return refuse(t.Name, "create", err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return Unknown, err.Error()
	}
	id, _ := info.ID()
	host, err := mapwatch.OpenHost()
	if err != nil {
		return Unknown, err.Error()
	}
	defer host.Close()
	opened, err := host.Open(fmt.Sprintf("id:%d", id))
	if err != nil {
		return Unknown, err.Error()
	}
	if err := opened.Close(); err != nil {
		return Unknown, err.Error()
	}
	return "", ""
}

func (r *runner) cellsWanted() (places []place) {
	for _, t := range r.types {
		for _, w := range Ways() {
			if !wanted(r.Options.Ways, w.Name) {
				continue
			}
			if _, err := w.mapConfig(t, "try", "/try"); err != nil {
				r.tell(Cell{Type: t.Name, Way: w.Name, Outcome: Unknown, Reason: err.Error()})
				continue
			}
			places = append(places, place{t, w})
		}
	}
	return places
}
