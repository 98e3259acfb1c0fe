//go:build page

package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mapgossip/mapgossip"
)

// TestPage looks at a cluster with every trouble, as someone does who was
// called at night: what is wrong, with whom, what to do.
func TestPage(t *testing.T) {
	browser := chromium(t)
	for _, s := range screens() {
		t.Run(s.name, func(t *testing.T) {
			a := sickFake()
			origin, _ := serveFake(t, a, "127.0.0.1:0")
			p := openTab(t, browser, s, origin+"/?every=0.2")
			p.says("#headline", "Not in sync with 3 of 4 alive members")
			p.says("#because li", "lb-3 differs in acl, flows, found at 11:59:48")
			p.says("#because li", "lb-5 is dead, last exchange at 11:00:00")
			p.says("#because li", "map acl: 2 entries are not in the kernel map: map is full")
			advises(p, a)
			p.says("#maps", "10 of 8")
			p.says("#members", "differs in acl, flows")
			p.says("#matrix", "≠ flows, acl")
			p.says("#matrix-note", "No answer from 2 members: lb-5, lb-7.")
			drawn(p)
			p.says("#story-verdict", "Choose a map at the top to ask for a key of it.")
			p.fits()
			p.shoot("sick")

			p.do(chromedp.SetValue(chromedp.CSS("#map"), "flows"))
			eval[bool](p, `document.querySelector('#map').dispatchEvent(new Event('change'))`)
			p.says("#matrix", "lb-3 998877")
			p.says("#matrix", "≠ differs")
			p.says("#matrix td", "dead")
			p.do(chromedp.Click(chromedp.CSS("#follow")))
			p.says("#live-note", "following: 5 told, 7 left out because they came too fast")
			for _, want := range []string{"bpftool (4711), CPU 3", "program in an interrupt, CPU 0", "program run by nginx (815), CPU 1", "found by a comparison", "written on lb-4, told by lb-2", "3.3ms"} {
				p.says("#live td", want)
			}
			p.do(chromedp.SendKeys(chromedp.CSS("#key"), "nonsense=1\r"))
			p.says("#story-verdict", `parse key "nonsense=1": the fields are saddr, daddr`)
			p.do(chromedp.SetValue(chromedp.CSS("#key"), "dport=443,saddr=10.0.0.1"))
			p.do(chromedp.Click(chromedp.CSS("#ask")))
			for _, want := range []string{"Newest: written by lb-2 at 11:59:57", "Older by 37s: deleted by lb-4 at 11:59:20", "lb-3 has nothing.", "No answer from lb-7."} {
				p.says("#story-verdict", want)
			}
			p.says("#story td", "another value: {packets: 65535}")
			p.says("#story td", "gone, too")
			p.fits()
			p.shoot("sick-flows")
			eval[bool](p, `document.querySelector('#live button.key').click() ?? true`)
			p.says("#story-verdict", "All 2 members have the same: written by lb-2")
			p.do(chromedp.Click(chromedp.CSS("#follow")))
			p.says("#live-note", "stopped")
			p.quiet(origin, "400 (Bad Request)") // of the key that is none
		})
	}
}

// advises: the page says what to do in the words of 'mapgossip status'.
func advises(p *tab, a *agentFake) {
	p.t.Helper()
	got, want := p.text("#todo li"), advise(a.status, present())
	if !slices.Equal(got, want) {
		p.t.Errorf("what to do:\n%s\nthe command says:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// drawn waits for both charts to have lines.
func drawn(p *tab) {
	p.t.Helper()
	for _, chart := range []string{"rates", "lag"} {
		p.until(fmt.Sprintf(`[...document.querySelectorAll('#%s path')].filter(e => e.getAttribute('d').split('L').length > 15).length === 2`, chart))
	}
	p.until(`/median [0-9.]+ms 99th percentile [0-9.]+ms/.test(document.querySelector('#lag-legend').textContent)`)
	p.until(`/captured [0-9]+ applied [0-9]+/.test(document.querySelector('#rates-legend').textContent)`)
}

// TestPageWell: nothing to do is said, and the only map is chosen.
func TestPageWell(t *testing.T) {
	browser := chromium(t)
	for _, s := range screens() {
		origin, _ := serveFake(t, wellFake(), "127.0.0.1:0")
		p := openTab(t, browser, s, origin+"/?every=0.2")
		p.says("#headline", "In sync with 1 member")
		p.says("#matrix", "= equal")
		p.says("#live-of", "of flows")
		if todo := p.text("#todo li"); len(todo) != 0 {
			t.Errorf("something is to be done: %q", todo)
		}
		drawn(p)
		p.shoot("well")
		p.quiet(origin)
	}
}

// TestPageShowsTextOnly: names and values come from other hosts. What looks
// like markup in them is shown, and does nothing.
func TestPageShowsTextOnly(t *testing.T) {
	const evil = `<img src=x onerror="document.title='evil'"><script>document.title='evil'</script>"'&amp;{}\`
	a := sickFake()
	s := &a.status
	s.Node, s.Cluster, s.Version = "node"+evil, "cluster"+evil, "version"+evil
	s.Members[0].Node, s.Members[2].Node, s.Members[2].Differ, s.Members[2].Addr = s.Node, "member"+evil, []string{"differ" + evil}, "addr"+evil
	s.Members[4].Node, s.Maps[0].HeldBackBy = "dead"+evil, "dead"+evil
	s.Maps[0].Name, s.Maps[0].Error, s.Maps[0].Target = "map"+evil, "error"+evil, "target"+evil
	s.Unhealthy, s.Conflicts = []string{"unhealthy" + evil}, []string{"conflict" + evil}
	a.views[0].Node, a.views[2].Error, a.views[2].Node = s.Node, "silent"+evil, "view"+evil
	a.views[1].Maps[0].Name, a.views[1].Maps[0].Digest = s.Maps[0].Name, evil
	entry := mapgossip.Entry{Key: "00", KeyText: "key" + evil, Value: "01", ValueText: "value" + evil, Node: "writer" + evil, Time: present()}
	a.follow = []mapgossip.Change{
		{Entry: entry, Origin: mapgossip.OriginLocal, Writer: &mapgossip.Writer{Source: "syscall", PID: 1, Process: "process" + evil}},
		{Entry: entry, Origin: mapgossip.OriginRemote, From: "from" + evil},
	}
	a.held[s.Maps[0].Name+"/"+evil] = []mapgossip.Held{{Node: "holder" + evil, Entry: &entry}, {Node: "mute" + evil, Error: "why" + evil}}
	origin, _ := serveFake(t, a, "127.0.0.1:0")
	p := openTab(t, chromium(t), screens()[2], origin+"/?every=0.2#"+url.Values{"map": {s.Maps[0].Name}}.Encode())
	says := func(selector string, words ...string) {
		t.Helper()
		for _, word := range words {
			p.says(selector, word+evil)
		}
	}
	says("#node", "node")
	says("#about", "cluster", "version")
	says("#because", "differ", "unhealthy", "conflict")
	says("#todo", "map", "dead")
	says("#maps", "map", "error")
	says("#members", "member", "differ", "addr")
	says("#matrix", "node", "view")
	says("#rates-of", "map")
	p.do(chromedp.Click(chromedp.CSS("#follow")))
	says("#live", "key", "value", "process", "writer", "from")
	p.do(chromedp.SetValue(chromedp.CSS("#key"), evil))
	p.do(chromedp.Click(chromedp.CSS("#ask")))
	says("#story", "holder", "mute", "why", "value", "writer")
	says("#story-verdict", "writer", "mute")
	p.fits()
	p.shoot("hostile")
	if got := eval[int](p, `document.querySelectorAll('img, body script').length`); got != 0 {
		t.Errorf("%d elements came out of text", got)
	}
	if title := eval[string](p, `document.title`); !strings.Contains(title, "node"+evil) {
		t.Errorf("title %q", title)
	}
	p.quiet(origin)
}

// TestPageAgentGone: what is shown is said to be old, and comes alive again
// with the agent.
func TestPageAgentGone(t *testing.T) {
	browser := chromium(t)
	for _, s := range []screen{screens()[0], screens()[2]} {
		a := wellFake()
		origin, stop := serveFake(t, a, "127.0.0.1:0")
		p := openTab(t, browser, s, origin+"/?every=0.2")
		p.says("#headline", "In sync with 1 member")
		p.says("#matrix", "= equal")
		drawn(p)
		p.until(`document.querySelector('#away').hidden`)
		p.quiet(origin) // later a browser complains of refused connections, by right
		stop()
		p.says("#away", "The agent does not answer since 12:0")
		p.says("#away", ": no connection. What is below is of 12:0")
		p.says("#headline", "Last known: In sync with 1 member")
		p.until(`document.body.classList.contains('stale') && document.title === '? mapgossip' && document.querySelector('#verdict').className === 'verdict waiting'`)
		p.fits()
		p.shoot("gone")
		serveFake(t, a, strings.TrimPrefix(origin, "http://"))
		p.until(`document.querySelector('#away').hidden && !document.body.classList.contains('stale') && document.title.startsWith('✓ lb-1')`)
		p.until(`document.querySelector('#headline').textContent === 'In sync with 1 member' && document.querySelector('#verdict').className === 'verdict good'`)
	}
}

// TestPageSpeaks: what a screen reader and a keyboard need is there.
func TestPageSpeaks(t *testing.T) {
	origin, _ := serveFake(t, sickFake(), "127.0.0.1:0")
	p := openTab(t, chromium(t), screens()[0], origin+"/?every=0.2#map=flows")
	p.says("#headline", "Not in sync")
	p.says("#matrix", "= equal")
	for _, must := range []struct{ expression, why string }{
		{`document.querySelector('#verdict').getAttribute('aria-live') === 'polite'`, "the verdict is told when it changes"},
		{`[...document.querySelectorAll('thead th')].every(th => th.scope === 'col')`, "headings of columns are told as such"},
		{`[...document.querySelectorAll('tbody tr')].every(tr => tr.cells[0].scope === 'row')`, "rows have headings"},
		{`[...document.querySelectorAll('input, select')].every(e => e.labels.length === 1)`, "what can be filled in has a label"},
		{`[...document.querySelectorAll('button')].every(e => e.textContent.trim() !== '')`, "buttons have names"},
		{`[...document.querySelectorAll('svg[role=img]')].every(e => e.getAttribute('aria-label').includes(': '))`, "charts say their last figures"},
		{`[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0)`, "what scrolls can be scrolled by keyboard"},
		{`document.documentElement.lang === 'en' && document.querySelectorAll('h1').length === 1`, "the page has a language and one title"},
	} {
		if !eval[bool](p, must.expression) {
			t.Errorf("not so: %s: %s", must.why, must.expression)
		}
	}
	// While there is nothing new to say, the verdict is left alone: else all of it
	// would be read aloud every two seconds.
	eval[bool](p, `(window.changed = new Set(), new MutationObserver(list => list.forEach(m => window.changed.add(m.target.textContent))).observe(document.querySelector('#verdict'), {subtree: true, childList: true, characterData: true}), true)`)
	before := eval[string](p, `document.querySelector('#asked').textContent`)
	p.until(fmt.Sprintf(`document.querySelector('#asked').textContent > %s`, oneLine(before)))
	drawn(p)
	for _, text := range eval[[]string](p, `[...window.changed]`) {
		t.Errorf("the verdict is written again though nothing changed: %q", text)
	}
	p.quiet(origin)
}

// TestPageWords: page and commands say durations in the same words.
func TestPageWords(t *testing.T) {
	origin, _ := serveFake(t, wellFake(), "127.0.0.1:0")
	p := openTab(t, chromium(t), screens()[0], origin)
	for _, d := range []time.Duration{0, 850 * time.Microsecond, time.Millisecond, 1240 * time.Microsecond, 12400 * time.Microsecond, 999 * time.Millisecond, 3 * time.Second, 3440 * time.Millisecond, 12 * time.Second,
		time.Minute, 125 * time.Second, 10 * time.Minute, time.Hour, 3*time.Hour + 2*time.Minute, 24 * time.Hour, 99 * time.Hour, -2500 * time.Millisecond} {
		if got := eval[string](p, fmt.Sprintf(`import('/page/text.js').then(m => m.rounded(%g))`, float64(d)/float64(time.Millisecond))); got != rounded(d) {
			t.Errorf("%s: the page says %q, the commands %q", d, got, rounded(d))
		}
	}
	// Half of the samples up to 4 ms, the rest up to 16: as PromQL interpolates.
	const before, after = `[[0.001,10],[0.004,10],[0.016,10],[Infinity,10]]`, `[[0.001,10],[0.004,20],[0.016,30],[Infinity,30]]`
	for q, want := range map[float64]float64{0.25: 0.0025, 0.5: 0.004, 0.75: 0.01, 1: 0.016} {
		if got := eval[float64](p, fmt.Sprintf(`import('/page/metrics.js').then(m => m.quantile(%g, %s, %s))`, q, before, after)); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if !eval[bool](p, fmt.Sprintf(`import('/page/metrics.js').then(m => m.quantile(0.5, %s, %s) === null && m.quantile(0.5, %s, %s) === null)`, after, after, after, before)) {
		t.Error("a quantile of nothing, or of a counter that went back")
	}
}
