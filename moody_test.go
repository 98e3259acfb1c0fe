package mapgossip

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// moody is a kernel that is slow, or refuses, as a test wants it. The zero
// fields change nothing.
type moody struct {
	mapwatch.Kernel
	refuse    atomic.Bool  // every Watch
	noReplace atomic.Bool  // a Watch follows no map
	making    atomic.Int64 // ns before a Watch captures
	beginning atomic.Int64 // ns that a Watch takes once it captures
	ending    atomic.Int64 // ns that a Watch captures on after Close
	reading   atomic.Int64 // ns before each chunk of a Scan
}

type moodyWatch struct {
	mapwatch.Watch
	k *moody
}

type moodyMap struct {
	mapwatch.Map
	k *moody
}

var errMoody = errors.New("no capture today")

func bare(m mapwatch.Map) mapwatch.Map { return m.(*moodyMap).Map }

func (k *moody) Open(target string) (mapwatch.Map, error) {
	m, err := k.Kernel.Open(target)
	if err != nil {
		return nil, err
	}
	return &moodyMap{m, k}, nil
}

func (k *moody) Reopen(old mapwatch.Map) (mapwatch.Map, error) {
	m, err := k.Kernel.Reopen(bare(old))
	if err != nil {
		return nil, err
	}
	return &moodyMap{m, k}, nil
}

func (k *moody) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	if k.refuse.Load() {
		return nil, errMoody
	}
	var inner []mapwatch.Map
	for _, m := range maps {
		inner = append(inner, bare(m))
	}
	time.Sleep(time.Duration(k.making.Load())) // synctest's clock
	w, err := k.Kernel.Watch(inner, options)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(k.beginning.Load()))
	return &moodyWatch{w, k}, nil
}

func (w *moodyWatch) Replace(i int, m mapwatch.Map) error {
	if w.k.noReplace.Load() {
		return mapwatch.ErrUnsupported
	}
	return w.Watch.Replace(i, bare(m))
}

func (w *moodyWatch) Close() error {
	time.Sleep(time.Duration(w.k.ending.Load()))
	return w.Watch.Close()
}

func (m *moodyMap) Scan(ctx context.Context, fn func(keys, values []byte, n int) error) error {
	return m.Map.Scan(ctx, func(keys, values []byte, n int) error {
		time.Sleep(time.Duration(m.k.reading.Load()))
		return fn(keys, values, n)
	})
}

const latePin = "/sys/fs/bpf/late"

// addMoody starts one more node, on a moody kernel; late is a second map, which is
// not there yet.
func (r *rig) addMoody(late bool) (*rigNode, *moody) {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	k := &moody{Kernel: kernel}
	c.Kernel = k
	if late {
		c.Maps = append(c.Maps, MapConfig{Name: "late", Target: latePin})
	}
	return r.start(c, kernel, m), k
}
