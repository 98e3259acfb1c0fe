package fake

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// limit is the best mode of capture that there is, and why no better one; empty:
// ModeFexit.
type limit struct {
	mode   mapwatch.Mode
	reason string
}

// modes in order: fexit needs the most of a host, scan nothing.
func rank(mode mapwatch.Mode) int {
	return slices.Index([]mapwatch.Mode{mapwatch.ModeScan, mapwatch.ModeFentry, mapwatch.ModeFexit}, cmp.Or(mode, mapwatch.ModeFexit))
}

// LimitCapture makes mode the best that later Watches offer, for that reason.
// mode is not ModeAuto.
func (k *Kernel) LimitCapture(mode mapwatch.Mode, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limit = limit{mode, reason}
}

// LimitTypeCapture is LimitCapture for the maps of one type, as a kernel does
// that lacks the functions to hook: with ModeAuto the others are captured by
// better ways, if there are.
func (k *Kernel) LimitTypeCapture(kind string, mode mapwatch.Mode, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limits[kind] = limit{mode, reason}
}

// LimitCapture is Kernel.LimitTypeCapture for one map.
func (m *Map) LimitCapture(mode mapwatch.Mode, reason string) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.limit = limit{mode, reason}
}

// limitLocked is the lowest of those that hold for m.
func (m *Map) limitLocked() limit {
	return slices.MinFunc([]limit{m.k.limit, m.k.limits[m.shape.Type], m.limit}, func(a, b limit) int {
		return cmp.Compare(rank(a.mode), rank(b.mode))
	})
}

// chooseLimitsLocked decides how each map is captured, and what holds for the
// best of them. A mode that was asked for is had for all maps or refused.
func (k *Kernel) chooseLimitsLocked(asked mapwatch.Mode, maps []*Map) (best limit, each []limit, err error) {
	auto := asked == "" || asked == mapwatch.ModeAuto
	switch {
	case !auto && rank(asked) < 0:
		return limit{}, nil, fmt.Errorf("watch: mode %q is none of auto, fexit, fentry, scan", asked)
	case !auto && rank(asked) > rank(k.limit.mode):
		return limit{}, nil, fmt.Errorf("watch by %s: %w: %s", asked, mapwatch.ErrUnsupported, k.limit.reason)
	}
	for _, m := range maps {
		l := m.limitLocked()
		if !auto && rank(asked) > rank(l.mode) {
			return limit{}, nil, fmt.Errorf("watch map %s by %s: %w: %s", m.shape.Target, asked, mapwatch.ErrUnsupported, l.reason)
		}
		each = append(each, l.within(asked, auto))
	}
	best = k.limit.within(asked, auto)
	if len(each) > 0 {
		best = slices.MaxFunc(each, func(a, b limit) int { return cmp.Compare(rank(a.mode), rank(b.mode)) })
	}
	return best, each, nil
}

// within is what l leads to if asked is allowed by it, or auto was asked for.
func (l limit) within(asked mapwatch.Mode, auto bool) limit {
	l.mode = cmp.Or(l.mode, mapwatch.ModeFexit)
	switch {
	case auto:
		return l
	case asked == mapwatch.ModeFexit:
		return limit{asked, ""}
	}
	return limit{asked, fmt.Sprintf("capture mode %s was asked for", asked)}
}
