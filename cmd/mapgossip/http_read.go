package main

import (
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

func (d *desk) healthz(w http.ResponseWriter, r *http.Request) {
	ok, reasons := d.node.Healthy(r.Context())
	answerHealth(w, ok, reasons)
}

func (d *desk) readyz(w http.ResponseWriter, r *http.Request) {
	select {
	case <-d.leaving:
		answerHealth(w, false, []string{"leaving the cluster"})
	default:
		ok, reasons := d.node.Ready(r.Context())
		answerHealth(w, ok, reasons)
	}
}

func (d *desk) status(w http.ResponseWriter, r *http.Request) {
	s, err := d.node.Status(r.Context())
	answerOr(w, statusAnswer{s, append([]string{}, advise(s, d.now())...)}, err)
}

func (d *desk) members(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, membersAnswer{append([]mapgossip.Member{}, d.node.Members()...)})
}

func (d *desk) maps(w http.ResponseWriter, r *http.Request) {
	maps, err := d.node.Maps(r.Context())
	answerOr(w, mapsAnswer{append([]mapgossip.MapStatus{}, maps...)}, err)
}

func (d *desk) oneMap(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	key, value, err := d.node.Layouts(r.Context(), name)
	if err != nil {
		answerOr(w, nil, err)
		return
	}
	maps, err := d.node.Maps(r.Context())
	if err != nil {
		answerOr(w, nil, err)
		return
	}
	for _, m := range maps {
		if m.Name == name {
			answer(w, http.StatusOK, mapAnswer{m, orNull(key), orNull(value)})
			return
		}
	}
	answerOr(w, nil, fmt.Errorf("map %s: %w; /debug/maps lists what there is", name, mapgossip.ErrUnknownMap))
}

// orNull makes a layout that is not known null.
func orNull(l layout.Layout) *layout.Layout {
	if !l.Known() {
		return nil
	}
	return &l
}

func (d *desk) entry(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	key, err := d.node.ParseKey(r.Context(), name, r.PathValue("key"))
	if err != nil {
		answerOr(w, nil, err)
		return
	}
	e, err := d.node.Entry(r.Context(), name, key)
	answerOr(w, e, err)
}

func (d *desk) held(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	key, err := d.node.ParseKey(r.Context(), name, r.PathValue("key"))
	if err != nil {
		answerOr(w, nil, err)
		return
	}
	held, err := d.node.Held(r.Context(), name, key)
	answerOr(w, heldAnswer{hex.EncodeToString(key), append([]mapgossip.Held{}, held...)}, err)
}

func (d *desk) convergence(w http.ResponseWriter, r *http.Request) {
	views, err := d.node.Views(r.Context())
	answerOr(w, viewsAnswer{append([]mapgossip.View{}, views...)}, err)
}

func (d *desk) keys(w http.ResponseWriter, r *http.Request) {
	keys, err := d.node.Keys(r.Context())
	answerOr(w, keysAnswer{append([]mapgossip.MemberKeys{}, keys...)}, err)
}

func (d *desk) configuration(w http.ResponseWriter, r *http.Request) {
	config, err := d.config.withKeys(r.Context(), d.node)
	answerOr(w, config, err)
}
