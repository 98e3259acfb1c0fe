package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// clientHost is the host that commands of this program ask for.
const clientHost = "mapgossip"

// guarded bounds what a request may bring, and refuses what a browser sends at
// the wish of another site: over loopback, a name that is not this host's (a
// site whose name was made to resolve to this host), and from anywhere, what
// another site's page loads, other than a person who follows a link.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		if fromLoopback(r) {
			if err := forThisHost(r); err != nil {
				answer(w, http.StatusForbidden, errorAnswer{err.Error()})
				return
			}
		}
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			answer(w, http.StatusForbidden, errorAnswer{"another site's page may not ask for this"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local lets through what fromHere does.
func local(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := fromHere(r); err != nil {
			answer(w, http.StatusForbidden, errorAnswer{err.Error()})
			return
		}
		h(w, r)
	}
}

// fromHere refuses what changes something unless it comes from this host, and
// not by way of a browser that another site has led here.
func fromHere(r *http.Request) error {
	if !overUnix(r) && !fromLoopback(r) {
		return errors.New("only from the agent's own host, over loopback or a unix socket")
	}
	if err := forThisHost(r); err != nil {
		return err
	}
	return http.NewCrossOriginProtection().Check(r)
}

func overUnix(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

func fromLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// forThisHost refuses a request for a host that no name of loopback is.
func forThisHost(r *http.Request) error {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == clientHost || host == "localhost" {
		return nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil || !addr.Unmap().IsLoopback() {
		return fmt.Errorf("the request is for host %q: ask for localhost", r.Host)
	}
	return nil
}
