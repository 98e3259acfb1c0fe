package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

const maxProfile = 10 * time.Minute

// routeProfiles adds profiles, for this host only: they cost time, and tell of
// memory.
func routeProfiles(mux *http.ServeMux) {
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/":        pprof.Index,
		"/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol":  pprof.Symbol,
		"/debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle(path, only(local(profile(h)), http.MethodGet))
	}
}

// profile bounds how long one may take.
func profile(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil || !(seconds > 0 && seconds <= maxProfile.Seconds()) {
				answer(w, http.StatusBadRequest, errorAnswer{fmt.Sprintf("seconds=%s: want a number above 0, at most %.0f", text, maxProfile.Seconds())})
				return
			}
		}
		if err := unhurried(w, r, maxProfile); err != nil {
			answer(w, http.StatusBadRequest, errorAnswer{err.Error()})
			return
		}
		h(w, r)
	}
}
