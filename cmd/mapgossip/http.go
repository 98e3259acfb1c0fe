package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// node is the part of *mapgossip.Node that the debug endpoint shows. Methods
// with a context may wait for the owner, or for other members.
type node interface {
	Members() []mapgossip.Member
	Maps(context.Context) ([]mapgossip.MapStatus, error)
	Ready(context.Context) (bool, []string)
	Healthy(context.Context) (bool, []string)
	Status(context.Context) (mapgossip.Status, error)
	Remove(ctx context.Context, member string) error
	Sync(context.Context) error

	Layouts(ctx context.Context, mapName string) (key, value layout.Layout, err error)
	ParseKey(ctx context.Context, mapName, text string) ([]byte, error)
	Entry(ctx context.Context, mapName string, key []byte) (mapgossip.Entry, error)
	Entries(ctx context.Context, mapName string, tombstones bool, fn func([]mapgossip.Entry) error) error
	Follow(ctx context.Context, mapName string, fn func(mapgossip.Change) error) error
	Scan(ctx context.Context, mapName string) (mapgossip.ScanReport, error)

	Views(context.Context) ([]mapgossip.View, error)
	Held(ctx context.Context, mapName string, key []byte) ([]mapgossip.Held, error)
	Diff(ctx context.Context, mapName, member string, fn func(mapgossip.Difference) error) error
	Keys(context.Context) ([]mapgossip.MemberKeys, error)
	InstallKey(ctx context.Context, key []byte) ([]mapgossip.MemberKeys, error)
	UseKey(ctx context.Context, fingerprint string) ([]mapgossip.MemberKeys, error)
	RemoveKey(ctx context.Context, fingerprint string) ([]mapgossip.MemberKeys, error)

	Collector() prometheus.Collector
}

const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // of a request with its body
	answerTimeout  = 10 * time.Second // for the node to answer
	longTimeout    = 10 * time.Minute // for a scan, or an exchange with all members
	writeTimeout   = 30 * time.Second // answer included
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 4 << 10
)

// index lists the paths.
const index = `mapgossip agent

/                                        a page for people
/index.txt                               this text
/healthz                                 200, or 503 with what needs a human
/readyz                                  200, or 503 with what is missing until the maps hold what the cluster knows
/metrics                                 for Prometheus
/debug/status                            all of it
/debug/members                           the members of the cluster
/debug/maps                              the replicated maps
/debug/maps/NAME                         one of them, and the types of its keys and values
/debug/maps/NAME/entries                 its entries, one JSON object a line; ?tombstones=1: deletes too
/debug/maps/NAME/entries/KEY             one entry; KEY is hex, or field=value,... where the map has BTF
/debug/maps/NAME/entries/KEY/members     what each member has of it
/debug/maps/NAME/watch                   changes as they happen: server-sent events
/debug/maps/NAME/diff?member=NODE        keys of which that member has something else, one JSON object a line
/debug/convergence                       what each member says of its maps and of the others
/debug/keys                              fingerprints of the keys that members encrypt with
/debug/config                            what is in force

From this host only:
/debug/pprof/                            profiles
POST /debug/maps/NAME/scan               compare the kernel map with the store now
POST /debug/sync                         anti-entropy with all members now
POST /debug/leave                        leave the cluster and end, as SIGTERM does
POST /debug/members/NODE/remove          count a member that is gone as one that left
POST /debug/keys/install                 give all members the key of the body, in base64
POST /debug/keys/FINGERPRINT/use         all members encrypt with it
POST /debug/keys/FINGERPRINT/remove      all members forget it
`

// desk is what the debug endpoint answers from.
type desk struct {
	node    node
	leaving <-chan struct{} // closed: the agent leaves, and is not ready any more
	leave   func()          // makes the agent leave, as SIGTERM does; may be called again
	config  configAnswer    // without the number of keys, which changes
	log     *slog.Logger
	load    *load
	now     func() time.Time
	ending  context.Context // done: streams end, for the server is shut down
}

// server is the debug endpoint.
type server struct {
	*http.Server
	load *load
}

// newServer returns the debug endpoint of n. Once leaving is closed, the agent
// is not ready any more; leave ends its run.
func newServer(n node, leaving <-chan struct{}, leave func(), config configAnswer, now func() time.Time, log *slog.Logger) *server {
	ending, end := context.WithCancel(context.Background())
	d := &desk{node: n, leaving: leaving, leave: leave, config: config, log: log, load: newLoad(), now: now, ending: ending}
	s := &server{load: d.load, Server: &http.Server{
		Handler:           d.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	s.RegisterOnShutdown(end)
	return s
}

// serve blocks until the server is shut down. Replication goes on without it.
func serve(s *server, l net.Listener, log *slog.Logger) {
	if err := s.Serve(s.load.bound(l)); !errors.Is(err, http.ErrServerClosed) {
		log.Error("debug endpoint has failed; restart the agent to have it back", "http", l.Addr(), "error", err)
	}
}

// handler routes. A path that is there and is asked for by another method is
// told so in JSON, which patterns with a method would not do.
func (d *desk) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(pattern string, h http.HandlerFunc) {
		mux.Handle(pattern, only(h, http.MethodGet, http.MethodHead))
	}
	read := func(pattern string, h http.HandlerFunc) { get(pattern, timed(h)) }
	change := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, only(local(h), http.MethodPost)) }

	mux.Handle("/{$}", pageHandler())
	mux.Handle("/page/", pageHandler())
	read("/index.txt", answerIndex)
	read("/healthz", d.healthz)
	read("/readyz", d.readyz)
	get("/metrics", d.metrics().ServeHTTP)
	read("/debug/status", d.status)
	read("/debug/members", d.members)
	read("/debug/maps", d.maps)
	read("/debug/maps/{name}", d.oneMap)
	get("/debug/maps/{name}/entries", d.entries)
	read("/debug/maps/{name}/entries/{key}", d.entry)
	read("/debug/maps/{name}/entries/{key}/members", d.load.asking(d.held))
	get("/debug/maps/{name}/watch", d.watch)
	get("/debug/maps/{name}/diff", d.diff)
	read("/debug/convergence", d.load.asking(d.convergence))
	read("/debug/keys", d.load.asking(d.keys))
	read("/debug/config", d.load.asking(d.configuration))
	routeProfiles(mux)

	change("/debug/maps/{name}/scan", d.load.asking(long(d.scan)))
	change("/debug/sync", d.load.asking(long(d.sync)))
	change("/debug/leave", d.leaveNow)
	change("/debug/members/{node}/remove", timed(d.remove))
	change("/debug/keys/install", timed(d.installKey))
	change("/debug/keys/{fingerprint}/use", timed(d.useKey))
	change("/debug/keys/{fingerprint}/remove", timed(d.removeKey))

	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, errorAnswer{"no such path; /index.txt lists what there is"})
	})
	return guarded(mux)
}

// only answers requests of these methods.
func only(h http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			answer(w, http.StatusMethodNotAllowed, errorAnswer{"this path answers " + strings.Join(methods, " and ")})
			return
		}
		h(w, r)
	})
}

// timed gives an answer as long as a node may take.
func timed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		h(w, r.WithContext(ctx))
	}
}

func answerIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, index)
}
