package crdt

import "cmp"

// MaxMemberBytes is the length of the longest member ID.
const MaxMemberBytes = 255

// Version says when and by whom a key was given its value. One member stamps
// one key with a greater Time each time, so versions of a key do not repeat
// unless two members share an ID (HAZARD in the package documentation).
type Version struct {
	Time   Timestamp
	Member string // the stable ID of the member that captured the change, 1 to MaxMemberBytes bytes
}

// Compare orders by Time, then by the bytes of Member: -1, 0 or 1.
func (v Version) Compare(w Version) int {
	if c := v.Time.Compare(w.Time); c != 0 {
		return c
	}
	return cmp.Compare(v.Member, w.Member)
}
