package crdt

func (s *Store) record(i uint32) record { return s.records.at(i) }

// entry returns record i as an Entry, without copying.
func (s *Store) entry(i uint32) Entry {
	r := s.record(i)
	e := Entry{
		Key:     r.key(s.keyBytes),
		Version: Version{Time: r.time(), Member: s.members.names[r.member()]},
		Deleted: r.deleted(),
	}
	if !e.Deleted {
		e.Value = s.value(r)
	}
	return e
}

// value returns where r, which is no tombstone, has its value.
func (s *Store) value(r record) []byte {
	if s.inline {
		return r[recordHead+s.keyBytes:]
	}
	return s.values.at(r.valuePiece())
}

// add makes a record for a key that was never heard of: a tombstone that adds
// nothing to the sums, for write to write over.
func (s *Store) add(e *Entry) uint32 {
	before := s.records.next
	i := s.records.take()
	if s.records.next == before {
		s.unused--
	}
	r := s.record(i)
	copy(r.key(s.keyBytes), e.Key)
	r.setMember(s.members.take(e.Version.Member))
	r.setTime(Timestamp{}, true)
	r.setLanes(lanes{})
	s.tombstones++
	return i
}

// write puts e, with these lanes, over the entry in r. e may lie in this store.
func (s *Store) write(r record, e *Entry, l lanes) {
	// The old member is given back last: it may be the same.
	if old := r.member(); s.members.names[old] != e.Version.Member {
		r.setMember(s.members.take(e.Version.Member))
		s.members.give(old)
	}
	switch was := r.deleted(); {
	case e.Deleted && !was:
		if !s.inline {
			s.values.give(r.valuePiece())
		}
		s.tombstones++
	case !e.Deleted && was:
		if !s.inline {
			r.setValuePiece(s.values.take())
		}
		s.tombstones--
	}
	r.setTime(e.Version.Time, e.Deleted)
	r.setLanes(l)
	if !e.Deleted {
		copy(s.value(r), e.Value)
	}
}

func (s *Store) lanesOf(e *Entry) lanes {
	s.scratch = e.AppendBinary(s.scratch[:0])
	return lanesOf(s.scratch)
}
