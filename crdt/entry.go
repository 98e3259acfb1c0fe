package crdt

import "bytes"

// Entry is what one version of one key says: its value, or, as a tombstone,
// that the key was deleted. It is a plain value; who owns Key and Value is said
// by the function that returns it.
type Entry struct {
	Key     []byte
	Value   []byte // empty in a tombstone
	Version Version
	Deleted bool // a tombstone
}

// Compare orders the entries of one key (Key itself is not looked at): by
// Version, then a tombstone over a value, then by the bytes of Value. The
// greatest wins. It returns 0 only for entries that say the same, so the order
// is total and the winner does not depend on who came first, not even when two
// members share an ID.
func (e Entry) Compare(f Entry) int {
	if c := e.Version.Compare(f.Version); c != 0 {
		return c
	}
	if e.Deleted != f.Deleted {
		if e.Deleted {
			return 1
		}
		return -1
	}
	return bytes.Compare(e.Value, f.Value)
}

// SameContent reports whether e and f would leave the same in a map: both
// deleted, or both with the same Value. Key and Version are not looked at.
func (e Entry) SameContent(f Entry) bool {
	return e.Deleted == f.Deleted && bytes.Equal(e.Value, f.Value)
}
