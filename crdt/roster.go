package crdt

import "strings"

// roster numbers the member IDs of a store's entries, so that an entry keeps
// four bytes instead of a string. It counts uses: an ID that no entry carries
// any more is forgotten, so a peer that invents IDs cannot make it grow beyond
// the number of entries.
type roster struct {
	names   []string
	uses    []uint32
	numbers map[string]uint32
	free    []uint32
	last    uint32 // number that take returned last: entries of one member come in rows
}

// take returns the number of name and counts one use. It keeps a copy of name.
func (r *roster) take(name string) uint32 {
	if int(r.last) < len(r.names) && r.uses[r.last] > 0 && r.names[r.last] == name {
		r.uses[r.last]++
		return r.last
	}
	n, ok := r.numbers[name]
	if ok {
		r.last = n
		r.uses[n]++
		return n
	}
	name = strings.Clone(name)
	if last := len(r.free) - 1; last >= 0 {
		n, r.free = r.free[last], r.free[:last]
		r.names[n], r.uses[n] = name, 1
	} else {
		n = uint32(len(r.names))
		r.names, r.uses = append(r.names, name), append(r.uses, 1)
	}
	if r.numbers == nil {
		r.numbers = make(map[string]uint32)
	}
	r.numbers[name], r.last = n, n
	return n
}

// give takes back one use of number n.
func (r *roster) give(n uint32) {
	if r.uses[n]--; r.uses[n] == 0 {
		delete(r.numbers, r.names[n])
		r.names[n] = ""
		r.free = append(r.free, n)
	}
}
