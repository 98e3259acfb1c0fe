package crdt

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// outGrace is how much later than it went out a member may have been seen
// without counting as back: those who see it do not hear of it at once.
const outGrace = int64(3 * time.Second)

// silence is after how long a member that nobody heard is what the others wait for.
const silence = 10 * time.Second

// maxMarks bounds the members that a Progress remembers; of those that count no
// more, the ones that went longest ago are forgotten first.
const maxMarks = 4096

// Mark is what is known of one member's part in a map. Times are nanoseconds
// since the Unix epoch; 0 stands for never.
type Mark struct {
	Member string
	// Has: the store has all entries that the member stamped up to then, or
	// newer ones of their keys. Of the own member: it will not stamp below.
	Has int64
	// Stable: the member said, at Told by its clock, that its store has
	// everything up to then of all members that count.
	Stable, Told int64
	// Seen: some member heard it. Out: it left or was removed.
	Seen, Out int64
	// Fence: it was last heard then, or left, and was waited for no longer.
	Fence int64
}

// Progress says how far replication of one map has come, which is what tells
// when a tombstone can go, and whether an entry that nobody knows is new or was
// deleted. It is a version vector by time (Has) with, for each member, the
// least of the vector that it told (Stable; the rows of a matrix clock,
// shortened) and a floor. Tombstones at or below the floor do not exist.
//
// Members learn of each other's Progress along with their digests. All of it
// only grows, or goes by who spoke last (Stable), so the order of messages does
// not matter. Not safe for concurrent use.
type Progress struct {
	floor int64
	marks map[string]*Mark
}

// Report is a Progress as one member tells it to another, Marks by member.
type Report struct {
	Floor int64
	Marks []Mark
}

// ProgressOf returns what a report says.
func ProgressOf(r Report) *Progress {
	p := &Progress{floor: r.Floor, marks: make(map[string]*Mark, len(r.Marks))}
	for _, m := range r.Marks {
		p.marks[m.Member] = &m
	}
	return p
}

// Report returns a copy of all.
func (p *Progress) Report() Report {
	r := Report{Floor: p.floor, Marks: make([]Mark, 0, len(p.marks))}
	for _, name := range slices.Sorted(maps.Keys(p.marks)) {
		r.Marks = append(r.Marks, *p.marks[name])
	}
	return r
}

// Floor returns the time up to which there are no tombstones.
func (p *Progress) Floor() int64 { return p.floor }

// below reports whether tombstones of that time are gone.
func (p *Progress) below(wall int64) bool { return wall <= p.floor && p.floor > 0 }

// Has returns up to when the store has the member's entries.
func (p *Progress) Has(member string) int64 {
	if m := p.marks[member]; m != nil {
		return m.Has
	}
	return 0
}

// Covers reports whether a store with this Progress had an entry of that
// version, or a newer one of its key, and would have it still, had it not been
// deleted and the tombstone collected.
func (p *Progress) Covers(v Version) bool {
	if !p.below(v.Time.Wall) {
		return false
	}
	wall := v.Time.wall()
	return wall <= p.floor && wall <= p.Has(v.Member)
}

// GaveUp reports whether deletes were forgotten since the member was waited for
// no longer, and nothing was learned from it since: what it finds in its map
// without knowing how old that is may have been deleted.
func (p *Progress) GaveUp(member string) bool {
	m := p.marks[member]
	return m != nil && m.Fence > m.Has && p.floor >= m.Fence
}

// Learn takes over what another member told. complete: this store has, or
// replaced by newer ones, all entries that the other's had when it made the
// report. now bounds what is believed of the future: entries beyond may have
// been refused. It does not move the floor: see Reaches.
func (p *Progress) Learn(r Report, complete bool, now int64) {
	for i := range r.Marks {
		theirs := &r.Marks[i]
		m := p.mark(theirs.Member)
		if told := min(theirs.Told, now); told > m.Told {
			m.Stable, m.Told = theirs.Stable, told
		}
		// A clock that is ahead must not keep those alive that are gone.
		m.Seen, m.Out, m.Fence = max(m.Seen, min(theirs.Seen, now)), max(m.Out, min(theirs.Out, now)), max(m.Fence, min(theirs.Fence, now))
		if complete {
			m.Has = max(m.Has, min(theirs.Has, now))
		}
	}
	p.trim()
}

// Reaches reports whether the store has all that a report's floor speaks of:
// then it can raise its own floor to that.
func (p *Progress) Reaches(r Report) bool {
	for _, theirs := range r.Marks {
		if p.Has(theirs.Member) < min(theirs.Has, r.Floor) {
			return false
		}
	}
	return true
}

// Tend brings the marks up to date: self promises not to stamp up to promise
// any more, and members were last heard at these times. forget is after how long
// a member that nobody hears counts no more. hold: there may be members that
// nobody here has met, and nothing is to go before that.
func (p *Progress) Tend(self string, now, promise int64, heard map[string]int64, forget time.Duration, hold bool) {
	own := p.mark(self)
	own.Seen = max(own.Seen, now)
	own.Has = max(own.Has, promise)
	for name, at := range heard {
		m := p.mark(name)
		m.Seen = max(m.Seen, at)
	}
	stable := int64(math.MaxInt64)
	for _, m := range p.marks {
		if m == own || p.counts(m, now, forget) {
			stable = min(stable, m.Has)
			continue
		}
		gone := m.Seen
		if m.Out > 0 {
			gone = min(gone, m.Out)
		}
		m.Fence = max(m.Fence, gone)
	}
	if !hold {
		own.Stable = stable
	}
	own.Told = max(now, own.Told+1)
	p.trim()
}

// Sober takes back what this host's clock, when it was ahead, said of times: now
// is by a clock that other members confirm. Else a member that was seen in the
// future would count until then, removed or not.
func (p *Progress) Sober(now int64) {
	for _, m := range p.marks {
		m.Told, m.Seen = min(m.Told, now), min(m.Seen, now)
		m.Out, m.Fence = min(m.Out, now), min(m.Fence, now)
	}
}

// Remove notes that a member left or was removed: it counts no more until it is
// seen again.
func (p *Progress) Remove(member string, now int64) {
	m := p.mark(member)
	m.Out = max(m.Out, now)
}

// Knows reports whether the member ever took part.
func (p *Progress) Knows(member string) bool { return p.marks[member] != nil }

// Counts reports whether tombstones wait for the member.
func (p *Progress) Counts(member string, now int64, forget time.Duration) bool {
	m := p.marks[member]
	return m != nil && p.counts(m, now, forget)
}

func (p *Progress) counts(m *Mark, now int64, forget time.Duration) bool {
	return !(m.Out > 0 && m.Seen <= m.Out+outGrace) && now-m.Seen <= int64(forget)
}

// Stable returns up to when the stores of all members that count have
// everything, as far as they told, and for which of them the rest waits. told is the
// earliest of the times at which they did, each by its own clock: the age of a
// tombstone counts from there, so that one fast clock makes none old. Zeros if
// no member counts.
func (p *Progress) Stable(now int64, forget time.Duration) (stable, told int64, last string) {
	stable, told = math.MaxInt64, math.MaxInt64
	for name, m := range p.marks {
		if !p.counts(m, now, forget) {
			continue
		}
		told = min(told, m.Told)
		if m.Stable < stable || m.Stable == stable && name < last {
			stable, last = m.Stable, name
		}
	}
	if last == "" {
		return 0, 0, ""
	}
	// While one is not heard, all others stay behind for its sake.
	quiet := now - int64(silence)
	for name, m := range p.marks {
		if m.Seen < quiet && p.counts(m, now, forget) {
			quiet, last = m.Seen, name
		}
	}
	return stable, told, last
}

// mark returns the member's mark, a new one if need be.
func (p *Progress) mark(member string) *Mark {
	m := p.marks[member]
	if m == nil {
		if p.marks == nil {
			p.marks = make(map[string]*Mark)
		}
		m = &Mark{Member: member}
		p.marks[member] = m
	}
	return m
}

// trim forgets those who went longest ago.
func (p *Progress) trim() {
	if len(p.marks) <= maxMarks {
		return
	}
	marks := slices.SortedFunc(maps.Values(p.marks), func(a, b *Mark) int {
		return cmp.Or(cmp.Compare(a.Seen, b.Seen), cmp.Compare(a.Member, b.Member))
	})
	for _, m := range marks[:len(marks)-maxMarks] {
		delete(p.marks, m.Member)
	}
}
