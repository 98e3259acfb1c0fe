//go:build page

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mapgossip/mapgossip"
)

// screenshotsVariable names a directory that what the browser shows is
// written to, for someone to look at.
const screenshotsVariable = "MAPGOSSIP_SCREENSHOTS"

// agentFake answers what the page asks as an agent does, at a time of its own
// that goes on with each status.
type agentFake struct {
	status mapgossip.Status
	views  []mapgossip.View
	held   map[string][]mapgossip.Held // by map/key; other keys are malformed
	follow []mapgossip.Change          // told to who follows a map

	mu    sync.Mutex
	ticks int // statuses told
}

func (a *agentFake) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return present().Add(time.Duration(a.ticks) * time.Second)
}

func (a *agentFake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", pageHandler())
	mux.Handle("/page/", pageHandler())
	mux.HandleFunc("/debug/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.tell()) })
	mux.HandleFunc("/debug/convergence", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, struct {
			Members []mapgossip.View `json:"members"`
		}{a.views})
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, a.metrics()) })
	mux.HandleFunc("/debug/maps/{map}/entries/{key}/members", func(w http.ResponseWriter, r *http.Request) {
		held, ok := a.held[r.PathValue("map")+"/"+r.PathValue("key")]
		if !ok {
			answer(w, http.StatusBadRequest, errorAnswer{fmt.Sprintf("parse key %q: the fields are saddr, daddr", r.PathValue("key"))})
			return
		}
		answer(w, http.StatusOK, struct {
			Key     string           `json:"key"`
			Members []mapgossip.Held `json:"members"`
		}{r.PathValue("key"), held})
	})
	mux.HandleFunc("/debug/maps/{map}/watch", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, c := range a.follow {
			fmt.Fprintf(w, "event: change\ndata: %s\n\n", oneLine(c))
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", a.now().Format(http.TimeFormat))
		mux.ServeHTTP(w, r)
	})
}

// tell has the counters grow, not evenly.
func (a *agentFake) tell() statusAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ticks++
	s := a.status
	s.Maps = slices.Clone(s.Maps)
	for i := range s.Maps {
		c := &s.Maps[i].Counters
		c.Captured += uint64(300*a.ticks + 40*(a.ticks%7) + 25*(a.ticks%3))
		c.Applied += uint64(180*a.ticks + 30*(a.ticks%5))
	}
	return statusAnswer{s, advise(s, present())}
}

// metrics has most writes applied within 4 ms, some take until 250 ms.
func (a *agentFake) metrics() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var text strings.Builder
	for _, m := range a.status.Maps {
		name := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(m.Name)
		n := 180 * a.ticks
		for _, b := range []struct {
			le    string
			count int
		}{{"0.001", n / 10}, {"0.004", n * (5 + a.ticks%3) / 10}, {"0.016", n * 9 / 10}, {"0.064", n * 95 / 100}, {"0.25", n}, {"+Inf", n}} {
			fmt.Fprintf(&text, "mapgossip_apply_lag_seconds_bucket{map=\"%s\",le=\"%s\"} %d\n", name, b.le, b.count)
		}
		fmt.Fprintf(&text, "mapgossip_apply_lag_seconds_count{map=\"%s\"} %d\n", name, n)
	}
	return text.String()
}

// serveFake listens on addr until stop is called, which cuts all connections.
func serveFake(t *testing.T, a *agentFake, addr string) (origin string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: a.handler(), ReadHeaderTimeout: headerTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() {
		s.Close()
		<-done
	})
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

// chromium starts one browser for a test and all its tabs, with a profile of its
// own. It asks nobody for anything but what it is told to open.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: apt-get install chromium", err)
	}
	dir := browserDir(t)
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.Env("TZ=UTC", "LANG=C.UTF-8", "TMPDIR="+dir), chromedp.WSURLReadTimeout(time.Minute)}
	for _, name := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps", "disable-extensions", "disable-dev-shm-usage",
		"disable-renderer-backgrounding", "disable-backgrounding-occluded-windows", "disable-background-timer-throttling", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(name, true))
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	browser, closeBrowser := chromedp.NewContext(ctx)
	t.Cleanup(closeBrowser)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return browser
}

// browserDir is for all that a browser leaves behind. The last of its processes
// write for a moment after it was stopped, which t.TempDir would not bear.
func browserDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mapgossip-page-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end := time.Now().Add(10 * time.Second)
		for err := os.RemoveAll(dir); err != nil; err = os.RemoveAll(dir) {
			if time.Now().After(end) {
				t.Errorf("remove what the browser left: %v", err)
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	})
	return dir
}

// screen is what someone has before them.
type screen struct {
	name          string
	width, height int64
	scheme        string // light or dark
}

// tab is a page that is open. What the browser complains of, and what it asks
// of whom, is kept.
type tab struct {
	t      *testing.T
	ctx    context.Context
	screen screen

	mu         sync.Mutex
	complaints []string
	hosts      map[string]int // requests
}

// openTab opens address in a tab.
func openTab(t *testing.T, browser context.Context, s screen, address string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx, screen: s, hosts: make(map[string]int)}
	if err := chromedp.Listen(ctx, p.take); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}},
		})
		return err
	}))
	p.do(chromedp.EmulateViewport(s.width, s.height))
	p.do(chromedp.Navigate(address))
	return p
}

func (p *tab) take(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, "exception: "+e.ExceptionDetails.Text)
		if x := e.ExceptionDetails.Exception; x != nil {
			p.complaints = append(p.complaints, x.Description)
		}
	case *runtime.EventConsoleAPICalled:
		p.complaints = append(p.complaints, fmt.Sprintf("console.%s", e.Type))
	case *cdplog.EventEntryAdded:
		p.complaints = append(p.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil {
			p.hosts[e.Request.URL]++
			return
		}
		p.hosts[u.Scheme+"://"+u.Host]++
	}
}

// quiet fails the test if the browser complained of anything but what contains
// one of the expected texts, or asked another origin.
func (p *tab) quiet(origin string, expected ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.complaints {
		if !slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(c, e) }) {
			p.t.Errorf("the browser complains: %s", c)
		}
	}
	if p.hosts[origin] < 10 || len(p.hosts) != 1 {
		p.t.Errorf("requests by origin: %v, want them to go to %s only", p.hosts, origin)
	}
}

func (p *tab) do(a chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, a); err != nil {
		p.t.Fatal(err)
	}
}

// text is what can be read in the elements that selector names, one each.
func (p *tab) text(selector string) []string {
	p.t.Helper()
	return eval[[]string](p, fmt.Sprintf(`[...document.querySelectorAll(%s)].map(e => e.innerText)`, oneLine(selector)))
}

// until waits for a JavaScript expression to be true.
func (p *tab) until(expression string) {
	p.t.Helper()
	if _, err := chromedp.Run(p.ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second))); err != nil {
		p.mu.Lock()
		complaints := strings.Join(p.complaints, "\n")
		p.mu.Unlock()
		p.t.Fatalf("%s: %v; the browser complains of: %s\nthe page says:\n%s", expression, err, complaints, strings.Join(p.text("main"), "\n"))
	}
}

// says waits for a text in one of the elements that selector names.
func (p *tab) says(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`[...document.querySelectorAll(%s)].some(e => e.textContent.includes(%s))`, oneLine(selector), oneLine(text)))
}

// fits fails the test if the page is wider than the screen.
func (p *tab) fits() {
	p.t.Helper()
	if got := eval[int64](p, `document.documentElement.scrollWidth`); got > p.screen.width {
		p.t.Errorf("the page is %d pixels wide, the screen %d", got, p.screen.width)
	}
}

// shoot writes what is to be seen, the whole page, to a file.
func (p *tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv(screenshotsVariable)
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`window.scrollTo(0, 0)`))
	image, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+p.screen.name+".png"), image, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// eval returns what a JavaScript expression comes to, promises waited for.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}
