package crdt

// A tombstone at or below the floor is buried: it counts in no digest, is in no
// bucket for others to see and is refused where its key is unknown. Its record
// lives on until whoever keeps something beside the store lets go of it.

// Progress of the store's map. Marks may be changed, the floor only by Raise.
func (s *Store) Progress() *Progress { return &s.progress }

// Resume makes the store's Progress that of an earlier run, whose entries were
// merged before: it would cover them. busy is as for Raise.
func (s *Store) Resume(r Report, busy func(Slot) bool) {
	s.progress = *ProgressOf(Report{Marks: r.Marks})
	s.Raise(r.Floor, busy)
}

// Raise moves the floor up (a lower one changes nothing): the tombstones at or
// below it are buried, and Clear begins to remove them. It looks at every record,
// some 5 ms for a million, and touches each that it buries, some 100 ns.
func (s *Store) Raise(floor int64, busy func(Slot) bool) {
	if floor <= s.progress.floor {
		return
	}
	before := s.progress.floor
	s.progress.floor = floor
	for i := range s.records.next {
		r := s.record(i)
		if !r.deleted() || r.unused() || r.time().Wall > floor || before > 0 && r.time().Wall <= before {
			continue
		}
		b, was := &s.buckets[BucketOf(r.key(s.keyBytes))], r.lanes()
		b.sum -= was.a
		s.sum = lanes{s.sum.a - was.a, s.sum.b - was.b}
		r.setLanes(lanes{})
		s.graves = append(s.graves, Slot(i))
	}
	s.Clear(busy)
}

// clearLimit bounds how many tombstones one Clear removes: some 20 ms.
const clearLimit = 64 << 10

// Clear removes buried tombstones that busy does not hold, at most 65536; Buried
// tells whether there are more. A removed key's slot will be another key's.
func (s *Store) Clear(busy func(Slot) bool) {
	kept, most := s.graves[:0], s.collected+clearLimit
	for i, slot := range s.graves {
		if s.collected == most {
			kept = append(kept, s.graves[i:]...)
			break
		}
		r := s.record(uint32(slot))
		switch {
		case r.unused() || !s.buried(r): // written anew since, or named twice
		case busy(slot):
			kept = append(kept, slot)
		default:
			s.remove(uint32(slot))
		}
	}
	if s.graves = kept; len(kept) == 0 {
		s.graves = nil
	}
}

// Buried returns how many tombstones wait to be removed.
func (s *Store) Buried() int { return len(s.graves) }

// Collected returns how many tombstones were removed.
func (s *Store) Collected() uint64 { return s.collected }

// Refused returns how many entries Merge refused with ErrDeleted.
func (s *Store) Refused() uint64 { return s.refused }

func (s *Store) buried(r record) bool { return r.deleted() && s.progress.below(r.time().Wall) }

// remove takes record i, a buried tombstone, out of the store.
func (s *Store) remove(i uint32) {
	r := s.record(i)
	key := r.key(s.keyBytes)
	s.buckets[BucketOf(key)].delete(s.tag(key), i)
	s.members.give(r.member())
	r.setMember(noMember)
	s.records.give(i)
	s.tombstones--
	s.unused++
	s.collected++
}

// Learn takes over a report (Progress.Learn) and raises the floor to that of the
// report, if the store has all that this one speaks of. A floor after now is that
// of a member with a wrong clock: nothing could be stamped above it. busy is as for Raise.
func (s *Store) Learn(r Report, complete bool, now int64, busy func(Slot) bool) {
	s.progress.Learn(r, complete, now)
	if r.Floor > s.progress.floor && r.Floor <= now && s.progress.Reaches(r) {
		s.Raise(r.Floor, busy)
	}
}
