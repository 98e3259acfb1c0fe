package mapgossip

import (
	"sync"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// witness is a kernel that knows who writes, and the types of its maps.
type witness struct {
	mapwatch.Kernel
	key, value layout.Layout

	mu      sync.Mutex
	writer  writer // of all that is captured from now on
	watches []*witnessWatch
}

type witnessWatch struct {
	mapwatch.Watch
	k       *witness
	batches chan mapwatch.Batch
	ended   bool   // guarded by k.mu
	asked   []bool // NameWriters; guarded by k.mu
}

type witnessMap struct {
	mapwatch.Map
	k *witness
}

// addWitness starts one more node, on a witness; late is a second map, which is not
// there yet.
func (r *rig) addWitness(late bool) (*rigNode, *witness) {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	k := &witness{Kernel: kernel}
	c.Kernel = k
	if late {
		c.Maps = append(c.Maps, MapConfig{Name: "late", Target: latePin})
	}
	return r.start(c, kernel, m), k
}

// wrote says who writes from now on.
func (k *witness) wrote(w writer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writer = w
}

// named returns what each watch was asked to do about names, in order.
func (k *witness) named() (asked [][]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.watches {
		asked = append(asked, append([]bool{}, w.asked...))
	}
	return asked
}

func (k *witness) wrap(m mapwatch.Map, err error) (mapwatch.Map, error) {
	if err != nil {
		return nil, err
	}
	return &witnessMap{m, k}, nil
}

func (k *witness) Open(target string) (mapwatch.Map, error) { return k.wrap(k.Kernel.Open(target)) }

func (k *witness) Reopen(m mapwatch.Map) (mapwatch.Map, error) {
	return k.wrap(k.Kernel.Reopen(m.(*witnessMap).Map))
}

func (k *witness) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	inner := make([]mapwatch.Map, len(maps))
	for i, m := range maps {
		inner[i] = m.(*witnessMap).Map
	}
	watch, err := k.Kernel.Watch(inner, options)
	if err != nil {
		return nil, err
	}
	w := &witnessWatch{Watch: watch, k: k, batches: make(chan mapwatch.Batch, 64)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watches = append(k.watches, w)
	go w.run()
	return w, nil
}

func (w *witnessWatch) run() {
	defer close(w.batches)
	for batch := range w.Watch.Batches() {
		w.k.mu.Lock()
		for i := range batch.Changes {
			c := &batch.Changes[i]
			c.Source, c.PID, c.CPU = w.k.writer.source, w.k.writer.pid, w.k.writer.cpu
			if n := len(w.asked); n > 0 && w.asked[n-1] {
				c.Comm = w.k.writer.comm
			}
		}
		w.k.mu.Unlock()
		w.batches <- batch
	}
}

func (w *witnessWatch) Batches() <-chan mapwatch.Batch { return w.batches }

func (w *witnessWatch) NameWriters(on bool) {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if w.ended {
		panic("a watch that was closed is asked for names")
	}
	w.asked = append(w.asked, on)
}

func (w *witnessWatch) Replace(i int, m mapwatch.Map) error {
	return w.Watch.Replace(i, m.(*witnessMap).Map)
}

func (w *witnessWatch) Close() error {
	w.k.mu.Lock()
	w.ended = true
	w.k.mu.Unlock()
	return w.Watch.Close()
}

func (m *witnessMap) Layouts() (key, value layout.Layout) { return m.k.key, m.k.value }
