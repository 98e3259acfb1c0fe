package gossip

import (
	"maps"
	"math"
)

// maxRoom bounds the numbers of a Room.
const maxRoom = math.MaxInt32

// Room is what one member's kernel map can hold. The zero Room: not told.
type Room struct {
	MaxEntries int // of the kernel map
	Waiting    int // entries that the member knows and its kernel map had no room for
}

// SetRoom sets what the other members are told of the room in this member's map:
// with the next comparison of digests, so that all know of it within some
// SyncIntervals, in a large cluster within minutes. It is kept until the next
// call. Numbers are cut to 0 to math.MaxInt32; a map that this member does not
// have is ignored. It does not block.
func (c *Cluster) SetRoom(mapName string, r Room) {
	r = Room{min(max(r.MaxEntries, 0), maxRoom), min(max(r.Waiting, 0), maxRoom)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spec(mapName) == nil || c.rooms[mapName] == r {
		return
	}
	c.rooms = maps.Clone(c.rooms) // Members handed the other one out
	c.rooms[mapName] = r
}

// roomsOf returns what a member told of the room in its maps; nil if nothing.
func roomsOf(told []mapState) map[string]Room {
	var rooms map[string]Room
	for _, m := range told {
		if m.Room == (Room{}) {
			continue
		}
		if rooms == nil {
			rooms = make(map[string]Room, len(told))
		}
		rooms[m.Name] = m.Room
	}
	return rooms
}
