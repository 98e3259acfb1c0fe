// Package state keeps in a directory what a member must know after a restart:
// the entries of its maps, tombstones among them, and a blob of its caller's (the
// clock's bound, known members). It gives them no meaning but one: of two entries
// of a key the greater counts ([crdt.Entry.Compare]).
//
// The directory has generations, numbered from 1: a journal N.journal, and a
// snapshot N.snapshot of what was there when the journal began. Each entry that
// is merged goes to the journal before it goes to the kernel ([Dir.Append],
// [Dir.Flush]), so that kill -9 loses nothing that the kernel has. [Dir.Begin]
// starts a new generation while entries go on changing; the older ones are
// removed when its snapshot is complete ([Snapshot.Commit]). [Open] reads the
// newest complete snapshot and the journals from there on. It makes a new
// journal each time: no file is written to again.
//
// Files are sequences of frames with a checksum each. A journal's header names
// the journal that it goes on from and how many bytes of that count, so the
// files form a chain, which is followed from the newest journal back to a
// snapshot. A file that is not in the chain means nothing. A snapshot counts if
// its last frame tells the number of its entries, and its journal is there.
//
// What is promised, of what was appended before a Flush that returned nil and
// left the Dir whole ([Dir.Broken]):
//
//	the process is killed          all of it is loaded
//	the host loses power           all of it up to some point, not before the last Sync or Commit
//	a file is damaged otherwise    all of it up to some point, or nothing, and a log line that says so
//	no room, or the disk fails     nothing, until a Commit that succeeds
//
// Files that cannot be used are kept, renamed to *.bad; there is one set of those.
//
// # Hazards
//
// HAZARD: a directory is copied back from a backup, or its disk is. It then tells
// of a time that the kernel's map and the other members have moved on from: what
// the map got since then is taken for a change made while the agent was down.
//
// HAZARD: the disk fails, and the files cannot be removed either. What is there
// is outdated, as above. [Dir.Broken] says so, and to remove them by hand.
//
// HAZARD: the last frame of a journal is damaged where it was whole. That looks
// like a write that a power cut has torn, and is dropped with a warning, not
// with an error; so is what follows the journal in later ones.
//
// HAZARD: a filesystem makes a later create, rename or remove survive a power
// cut, but not an earlier one. ext4, XFS and btrfs keep their order.
//
// HAZARD: flock(2) does nothing on some network filesystems. Two agents can then
// use one directory, and it holds the state of neither.
package state
