package gossip

import "github.com/mapgossip/mapgossip/crdt"

const (
	maxMarks      = 8192      // members of one report
	maxFrameMarks = 256 << 10 // of all reports of one frame
)

// report writes what the sender knows of how far the members of a map are.
func (w *frameWriter) report(r crdt.Report) {
	w.array(2)
	w.int(r.Floor)
	w.array(len(r.Marks))
	for _, m := range r.Marks {
		w.array(7)
		w.text(m.Member)
		for _, t := range []int64{m.Has, m.Stable, m.Told, m.Seen, m.Out, m.Fence} {
			w.int(t)
		}
	}
}

func (r *fieldReader) report() (report crdt.Report) {
	r.record(2, func() {
		report.Floor = r.time()
		r.list(maxMarks, func() {
			r.record(7, func() {
				m := crdt.Mark{Member: r.text(maxNodeBytes), Has: r.time(), Stable: r.time(), Told: r.time(),
					Seen: r.time(), Out: r.time(), Fence: r.time()}
				if r.marks++; r.marks > maxFrameMarks {
					r.fail("more than %d marks", maxFrameMarks)
				}
				if m.Member == "" {
					r.fail("mark of no member")
				}
				report.Marks = append(report.Marks, m)
			})
		})
	})
	return report
}

// time returns nanoseconds since 1970.
func (r *fieldReader) time() int64 {
	t := r.int()
	if t < 0 {
		r.fail("time %d", t)
		return 0
	}
	return t
}
