package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
)

// node is the part of *mapgossip.Node that the debug endpoint shows. Methods
// with a context may wait for the owner.
type node interface {
	Members() []mapgossip.Member
	Maps(context.Context) ([]mapgossip.MapStatus, error)
	Ready(context.Context) (bool, []string)
	Healthy(context.Context) (bool, []string)
	Status(context.Context) (mapgossip.Status, error)
	Remove(ctx context.Context, member string) error
}

const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // a request has no body to speak of
	answerTimeout  = 10 * time.Second // for the node to answer
	writeTimeout   = 30 * time.Second // answer included
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
)

const index = `mapgossip agent

/healthz         200, or 503 with what needs a human
/readyz          200, or 503 with what is missing until the maps hold what the cluster knows
/debug/members   the members of the cluster
/debug/maps      the replicated maps
/debug/status    all of it

POST /debug/members/NODE/remove   wait no longer for a member; from this host only
`

// health answers /healthz and /readyz.
type health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"`
}

type membersAnswer struct {
	Members []mapgossip.Member `json:"members"`
}

type mapsAnswer struct {
	Maps []mapgossip.MapStatus `json:"maps"`
}

type removedAnswer struct {
	Removed string `json:"removed"`
}

type errorAnswer struct {
	Error string `json:"error"`
}

// newServer returns the debug endpoint of n. Once leaving is closed, the agent
// is not ready any more.
func newServer(n node, leaving <-chan struct{}, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           newMux(n, leaving),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve blocks until the server is shut down. Replication goes on without it.
func serve(s *http.Server, l net.Listener, log *slog.Logger) {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("debug endpoint has failed; restart the agent to have it back", "http", l.Addr(), "error", err)
	}
}

func newMux(n node, leaving <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, index)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		ok, reasons := n.Healthy(r.Context())
		answerHealth(w, ok, reasons)
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-leaving:
			answerHealth(w, false, []string{"leaving the cluster"})
		default:
			ok, reasons := n.Ready(r.Context())
			answerHealth(w, ok, reasons)
		}
	})
	mux.HandleFunc("/debug/members", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, membersAnswer{append([]mapgossip.Member{}, n.Members()...)})
	})
	mux.HandleFunc("/debug/maps", func(w http.ResponseWriter, r *http.Request) {
		maps, err := n.Maps(r.Context())
		answerOr(w, mapsAnswer{append([]mapgossip.MapStatus{}, maps...)}, err)
	})
	mux.HandleFunc("/debug/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := n.Status(r.Context())
		answerOr(w, status, err)
	})
	mux.HandleFunc("POST /debug/members/{node}/remove", func(w http.ResponseWriter, r *http.Request) {
		if err := fromHere(r); err != nil {
			answer(w, http.StatusForbidden, errorAnswer{err.Error()})
			return
		}
		switch err := n.Remove(r.Context(), r.PathValue("node")); {
		case errors.Is(err, mapgossip.ErrStopped), r.Context().Err() != nil:
			answer(w, http.StatusServiceUnavailable, errorAnswer{err.Error()})
		case err != nil:
			answer(w, http.StatusConflict, errorAnswer{err.Error()})
		default:
			answer(w, http.StatusOK, removedAnswer{r.PathValue("node")})
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, errorAnswer{"no such path; / lists what there is"})
	})
	return bounded(mux)
}

// clientHost is the host that commands of this program ask for.
const clientHost = "mapgossip"

// fromHere refuses what changes something unless it comes from this host, and
// not by way of a browser that another site has led here.
func fromHere(r *http.Request) error {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok || addr.Network() != "unix" {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			return errors.New("only from the agent's own host, over loopback or a unix socket")
		}
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if addr, err := netip.ParseAddr(host); host != clientHost && host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return fmt.Errorf("the request is for host %q: ask for localhost", r.Host)
	}
	return http.NewCrossOriginProtection().Check(r)
}

// bounded lets GET, HEAD and what changes something through, for as long as a
// node may take to answer.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/remove")) {
			w.Header().Set("Allow", "GET, HEAD")
			answer(w, http.StatusMethodNotAllowed, errorAnswer{"only GET and HEAD are answered"})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func answerHealth(w http.ResponseWriter, ok bool, reasons []string) {
	code := http.StatusOK
	if !ok {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, health{ok, append([]string{}, reasons...)})
}

// answerOr answers value, or that the node could not tell.
func answerOr(w http.ResponseWriter, value any, err error) {
	if err != nil {
		answer(w, http.StatusServiceUnavailable, errorAnswer{err.Error()})
		return
	}
	answer(w, http.StatusOK, value)
}

func answer(w http.ResponseWriter, code int, value any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil { // no value here can fail; say so if one does
		code = http.StatusInternalServerError
		text.Reset()
		fmt.Fprintf(&text, "{\"error\": %q}\n", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(text.Bytes()) // a client that went away is no fault of ours
}
