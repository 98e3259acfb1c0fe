package mapgossip

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip/gossip"
)

// scrapeTimeout is how long the owner may take to answer a scrape. Prometheus
// gives up after 10 s by default.
const scrapeTimeout = 5 * time.Second

// Collector tells what this member knows of itself as metrics whose names start
// with mapgossip_; testdata/metrics.txt lists them, and they are a contract.
//
// Everything is read when it is scraped, all at once, and nothing between
// scrapes. A scrape waits at most 5 s for the Node; if it does not answer by then,
// or does not run, mapgossip_up is 0 and the metrics of its maps are left out.
// Counters start at 0 with the Node, and a series whose labels are known is there
// from the start. The number of series is bounded by the maps configured here and
// the members that Members tells of; no label comes from keys or values.
//
// Each Collector of one Node tells the same. Safe for concurrent use.
func (n *Node) Collector() prometheus.Collector {
	var families []family
	families = append(families, stateFamilies()...)
	families = append(families, memberFamilies()...)
	families = append(families, mapFamilies()...)
	families = append(families, captureFamilies()...)
	families = append(families, applyFamilies()...)
	families = append(families, networkFamilies()...)
	lag := prometheus.NewDesc(prefix+"apply_lag_seconds", "Time from the stamp of another member's entry to its being in this host's kernel map, by both hosts' clocks; entries from before the map was filled are left out.", []string{labelMap}, nil)
	return collector{n, families, lag}
}

// What metrics are called.
const (
	prefix = "mapgossip_"

	labelMap       = "map"
	labelMember    = "member"
	labelState     = "state"
	labelCarrier   = "carrier"
	labelReason    = "reason"
	labelDirection = "direction"
)

// family is all series of one metric name.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	// tell passes each series to one, the label values in the order of desc. Without
	// the owner's answer observed.status is nil; tell is not called then if owner is set.
	tell  func(o *observed, one series)
	owner bool
}

// series takes the value of one series.
type series func(value float64, labels ...string)

// observed is what one scrape found.
type observed struct {
	members   []Member // the others that did not leave, each node ID once
	states    map[string]int
	network   gossip.Stats
	status    *Status                 // nil: the owner did not answer
	lags      map[string]lagHistogram // by map name
	version   string
	encrypted bool
	started   time.Time
	now       time.Time
}

// collector is a prometheus.Collector of a Node.
type collector struct {
	node     *Node
	families []family
	lag      *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range c.families {
		descs <- f.desc
	}
	descs <- c.lag
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	o := c.node.observe(ctx)
	for _, f := range c.families {
		if f.owner && o.status == nil {
			continue
		}
		f.tell(o, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
	for name, h := range o.lags {
		count, upTo := h.total()
		metrics <- prometheus.MustNewConstHistogram(c.lag, count, h.seconds, upTo, name)
	}
}

// observe reads what a scrape tells. It asks the owner for little first: one that
// is stuck with its disk in hand would hold up the rest for ever.
func (n *Node) observe(ctx context.Context) *observed {
	o := &observed{network: n.networkStats(), version: n.config.Version,
		encrypted: len(n.config.Keyring) > 0, started: n.started, now: n.config.Now()}
	o.members, o.states = others(n.Members())
	lags := make(map[string]lagHistogram, len(n.config.Maps))
	if err := n.call(ctx, func() {
		for _, c := range n.config.Maps {
			if b := n.byName[c.Name]; b != nil {
				lags[c.Name] = b.lags
			} else {
				lags[c.Name] = lagHistogram{}
			}
		}
	}); err != nil {
		return o
	}
	if s, err := n.Status(ctx); err == nil && ctx.Err() == nil { // else parts of it are missing
		o.status, o.lags = &s, lags
	}
	return o
}

// others returns the other members that did not leave, each node ID once, and how
// many members there are in each state, this one included.
func others(members []Member) (remaining []Member, states map[string]int) {
	states = make(map[string]int)
	places := make(map[string]int)
	for _, m := range members {
		states[m.State]++
		if m.Self || m.State == gossip.StateLeft {
			continue
		}
		if at, twice := places[m.Node]; twice { // two runs, of which one is on its way out
			if remaining[at].State != gossip.StateAlive && m.State == gossip.StateAlive {
				remaining[at] = m
			}
			continue
		}
		places[m.Node] = len(remaining)
		remaining = append(remaining, m)
	}
	return remaining, states
}

// newFamily is a family of any labels.
func newFamily(kind prometheus.ValueType, name, help string, labels []string, tell func(o *observed, one series)) family {
	return family{desc: prometheus.NewDesc(prefix+name, help, labels, nil), kind: kind, tell: tell}
}

// ofOwner is f, told when the owner has answered only.
func ofOwner(f family) family {
	f.owner = true
	return f
}

// truth is 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
