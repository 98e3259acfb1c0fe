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
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, errorAnswer{"no such path; / lists what there is"})
	})
	return readOnly(mux)
}

// readOnly lets GET and HEAD through, for as long as a node may take to answer.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
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
