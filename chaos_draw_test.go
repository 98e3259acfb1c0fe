package mapgossip

import (
	"math/rand/v2"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// chaosDraw draws a story: a cluster, some episodes of faults, and programs that
// write all the while, on few keys so that they meet.
type chaosDraw struct {
	*rand.Rand
	chaosStory
	length time.Duration
	busy   []time.Duration // moments worth to write at: an episode begins or ends
}

func drawChaosStory(seed uint64) chaosStory {
	d := &chaosDraw{Rand: rand.New(rand.NewPCG(seed, 4))}
	d.seed = seed
	d.members = []int{3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7}[d.IntN(11)]
	d.keys = []int{4, 20, 20, 50, 200}[d.IntN(5)]
	d.room = d.keys + 16
	d.scan = []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second}[d.IntN(3)]
	d.sync = []time.Duration{time.Second, 3 * time.Second, 10 * time.Second}[d.IntN(3)]
	d.minAge, d.forget = DefaultTombstoneMinAge, DefaultForgetAfter
	if d.Float64() < 0.5 {
		d.minAge, d.forget = 25*time.Second, []time.Duration{60, 120, 300}[d.IntN(3)]*time.Second
	}
	d.disks = d.Float64() < 0.6
	d.link = simnet.Link{Delay: d.upTo(2 * time.Millisecond), Jitter: d.upTo(5 * time.Millisecond)}
	plain := d.Float64() < 0.6 // the hooks see everything
	for range d.members {
		mode := mapwatch.ModeFexit
		if !plain {
			mode = []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFexit, mapwatch.ModeFentry, mapwatch.ModeScan}[d.IntN(4)]
		}
		d.capture = append(d.capture, mode)
	}
	d.length = 10*time.Second + d.upTo(50*time.Second)
	if d.minAge < DefaultTombstoneMinAge && d.Float64() < 0.5 {
		d.length += d.minAge
	}
	if d.Float64() < 0.25 {
		d.lateJoin()
	}
	for range 1 + d.IntN(5) {
		d.episode()
	}
	d.programs()
	d.sort()
	return d.chaosStory
}

func (d *chaosDraw) upTo(limit time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(limit)))
}

func (d *chaosDraw) member() int { return d.IntN(d.members) }

// other is a member that is not m.
func (d *chaosDraw) other(m int) int { return (m + 1 + d.IntN(d.members-1)) % d.members }

// lateJoin leaves some members out at first; they come all at once, or one by one.
func (d *chaosDraw) lateJoin() {
	apart := time.Duration(d.IntN(2)) * 3 * time.Second
	at := d.upTo(d.length / 2)
	for i := 1 + d.IntN(d.members-1); i < d.members; i++ {
		d.absent = append(d.absent, i)
		d.add(at, "start", i)
		at += apart
	}
	d.busy = append(d.busy, at)
}

// span is how long a fault lasts: shorter than it takes to believe a member
// dead, or longer.
func (d *chaosDraw) span() time.Duration {
	switch d.IntN(4) {
	case 0:
		return 40*time.Second + d.upTo(100*time.Second)
	case 1:
		return 10*time.Second + d.upTo(20*time.Second)
	}
	return time.Second + d.upTo(5*time.Second)
}

// window is a fault's begin and end. The story gets longer if need be.
func (d *chaosDraw) window() (from, to time.Duration) {
	from = d.upTo(d.length * 3 / 4)
	to = from + d.span()
	d.length = max(d.length, to+2*time.Second)
	d.busy = append(d.busy, from, to)
	return from, to
}

func (d *chaosDraw) episode() {
	from, to := d.window()
	m := d.member()
	episodes := []func(){
		func() { // a bad network
			d.add(from, "link", []int{0, 5, 20, 50}[d.IntN(4)], []int{0, 20, 50}[d.IntN(3)], []int{0, 30}[d.IntN(2)], 1+d.IntN(2000), d.IntN(20), d.IntN(50))
			d.add(to, "link", 0, 0, 0, 0, 1, 1)
		},
		func() { d.cutOneWay(from, to, m) },
		func() { d.part(from, to) },
		func() { d.part(from, to) },
		func() {
			d.add(from, "stall", m)
			d.add(to, "resume", m)
		},
		func() { d.restart(from, to, m, "kill") },
		func() { d.restart(from, to, m, "kill") },
		func() { d.restart(from, to, m, "leave") },
		func() { d.everybody(from, to) },
		func() { d.clocks(from, to, m) },
		func() { d.clocks(from, to, m) },
		func() { d.kernel(from, to, m) },
		func() { d.kernel(from, to, m) },
		func() { // strange guests
			for range 1 + d.IntN(4) {
				at := from + d.upTo(to-from)
				d.add(at, "poison", d.member(), 1+d.IntN(10), d.IntN(1000))
				to := d.member()
				d.add(at, "alien", to, d.other(to), 1+d.IntN(10), d.IntN(1000))
			}
		},
	}
	if chaosFeatures.disks && d.disks {
		episodes = append(episodes, func() {
			d.add(from, "badDisk", m, 1+d.IntN(3))
			d.add(to, "badDisk", m, 0)
		})
	}
	episodes[d.IntN(len(episodes))]()
}

func (d *chaosDraw) cutOneWay(from, to time.Duration, m int) {
	for i := range d.members {
		if i != m && d.Float64() < 0.5 {
			if d.Float64() < 0.5 {
				d.add(from, "cut", m, i)
			} else {
				d.add(from, "cut", i, m)
			}
		}
	}
	d.add(to, "heal")
}

func (d *chaosDraw) part(from, to time.Duration) {
	d.add(from, "part", 1+d.IntN(1<<d.members-2))
	d.add(to, "heal")
	if d.Float64() < 0.4 { // what the parts forgot
		m := d.member()
		d.restart(from+(to-from)/2, to+time.Second, m, []string{"kill", "leave"}[d.IntN(2)])
	}
}

// restart ends an agent and starts it again: at once, or at the end; here or elsewhere.
func (d *chaosDraw) restart(from, to time.Duration, m int, how string) {
	d.add(from, how, m)
	if d.Float64() < 0.3 {
		to = from + d.upTo(500*time.Millisecond)
	}
	if d.Float64() < 0.15 {
		d.add(from+d.upTo(to-from+1), "replace", m)
	}
	if m > 0 && d.Float64() < 0.3 { // the first member's address is everybody's seed
		d.add(to, "move", m)
	} else {
		d.add(to, "start", m)
	}
	if chaosFeatures.remove && how == "kill" && d.Float64() < 0.2 {
		d.add(from+(to-from)/2, "remove", m, d.other(m))
	}
	d.busy = append(d.busy, to)
}

// everybody ends all or nearly all agents and starts them again.
func (d *chaosDraw) everybody(from, to time.Duration) {
	how := []string{"kill", "leave"}[d.IntN(2)]
	spread := d.upTo(3 * time.Second)
	spared := -1
	if d.Float64() < 0.6 {
		spared = d.member()
	}
	for i := range d.members {
		if i != spared {
			d.add(from+d.upTo(spread+1), how, i)
			d.add(to+d.upTo(spread+1), "start", i)
		}
	}
}

func (d *chaosDraw) clocks(from, to time.Duration, m int) {
	step := 100 + d.IntN(4000) // within what members accept, or beyond
	if d.Float64() < 0.5 {
		step = 6000 + d.IntN(60000)
	}
	if d.Float64() < 0.5 {
		step = -step
		// A host whose clock is behind by more than tombstones are old, and whose
		// agent lost what it promised, writes below the floor: a hazard that is told.
		if d.minAge < DefaultTombstoneMinAge {
			step %= 8000
		}
	}
	switch d.IntN(3) {
	case 0: // a jump, for good
		d.add(from, "clock", m, step)
	case 1: // and back
		d.add(from, "clock", m, step)
		d.add(to, "clock", m, -step)
	case 2:
		d.add(from, "drift", m, d.IntN(20000)-10000)
		d.add(to, "drift", m, 0)
	}
}

func (d *chaosDraw) kernel(from, to time.Duration, m int) {
	switch d.IntN(7) {
	case 0:
		d.add(from, "lose", m, 1+d.IntN(30), []int{int(fake.Dropped), int(fake.Missed), int(fake.Silent)}[d.IntN(3)])
	case 1:
		d.add(from, "reverse", m, 1+d.IntN(30))
	case 2:
		d.add(from, "misread", m, 1) // more would be two reads in a row that agree
	case 3:
		d.add(from, "refuse", m, 1+d.IntN(200), d.IntN(2))
		d.add(to, "refuse", m, 0, 0)
	case 4:
		d.add(from, "slow", m, 1+d.IntN(300))
		d.add(to, "slow", m, 0)
	case 5:
		for i := range d.members {
			if i == m || d.Float64() < 0.4 {
				d.add(from+d.upTo(time.Second), "fill", i, 1+d.IntN(20))
			}
		}
	case 6:
		d.add(from, "replace", m)
		d.add(to, []string{"kill", "leave"}[d.IntN(2)], m)
		d.add(to+time.Second, "start", m)
	}
}

// programs write all over the story, more where something happens.
func (d *chaosDraw) programs() {
	moment := func() time.Duration {
		if len(d.busy) > 0 && d.Float64() < 0.6 {
			at := d.busy[d.IntN(len(d.busy))] + d.upTo(2*time.Second) - 300*time.Millisecond
			return max(0, at)
		}
		return d.upTo(d.length)
	}
	d.add(0, "burst", d.member(), d.keys, 1, 0, d.keys, d.IntN(1<<20))
	for range 4 + d.IntN(10) {
		keys := 1 + d.IntN(min(d.keys, 12))
		d.add(moment(), "burst", d.member(), 1+d.IntN(25), []int{0, 1, 3, 20, 100}[d.IntN(5)], d.IntN(d.keys-keys+1), keys, d.IntN(1<<20))
	}
	verbs := []string{"write", "write", "delete", "delete", "poke"}
	for range 3 + d.IntN(20) { // the same key on two members at nearly the same time
		at, key, m := moment(), d.IntN(d.keys), d.member()
		d.add(at, verbs[d.IntN(len(verbs))], m, key)
		d.add(at+max(0, d.upTo(20*time.Millisecond)-5*time.Millisecond), verbs[d.IntN(len(verbs))], d.other(m), key)
	}
}
