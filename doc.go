// Package mapgossip keeps eBPF maps the same on any number of hosts.
//
// A Node watches chosen maps in its kernel, turns each successful change into
// a last-writer-wins entry stamped by a hybrid logical clock, spreads entries
// by gossip, and writes what it learns from other members into its own kernel's
// maps, so that every member's map converges whatever order, loss, duplication,
// partition or restart happened on the way. Command mapgossip is a daemon
// around one Node; a program that embeds one does
//
//	config := mapgossip.DefaultConfig()
//	config.Node = "lb-1"
//	config.Join = []string{"lb-0.example"}
//	config.Maps = []mapgossip.MapConfig{{Name: "flows", Target: "/sys/fs/bpf/flows"}}
//	node, err := mapgossip.New(config)
//	if err != nil {
//		return err
//	}
//	return node.Run(ctx)
//
// # Words
//
// A member is a node of the cluster. A map is a BPF map, its keys and values
// are bytes of fixed sizes. An entry is one key's winning version; a tombstone
// is an entry that says "deleted". A version is a timestamp of the hybrid
// logical clock and the member that made it. Capture is from the kernel to us,
// apply from us to the kernel; a scan reads the whole kernel map and compares.
// A rumor is an entry that is still being spread; anti-entropy compares digests
// and exchanges what differs. Members whose digests are equal have converged.
//
// # Promises
//
// Converges: any members that can reach each other, directly or not, end with
// equal maps once writes stop. Deterministic: the same winner everywhere.
// Nothing invented: a value in a map was written by someone for that key.
// Bounded: memory is a function of entries, members and configured queues,
// never of the rate or of a peer's behaviour.
//
// Not promised: to read your write on another member at once; transactions;
// an order between keys; merging two concurrent values of one key.
//
// # Rooms
//
// Package mapwatch owns the kernel and knows nothing of entries or members.
// Package gossip owns the network and knows nothing of kernel maps. Package
// crdt decides which version wins and is pure. This package joins them: a
// mirror a map decides, without waiting for anything, what a record, a remote
// entry, a look or a scan means; the owner goroutine of the Node carries it out.
//
// # Costs
//
// Beside its entry in the store a key costs what its mirror remembers of it, by
// the store's slots, in pages of 256: 48 bytes from a change until two scan
// intervals of quiet (a minute at least) have passed for its page, and 8 bytes
// while an entry of the page waits to be applied, which is for ever with
// direction=send, or was evicted. What is done each second does not grow with the entries. A
// scan costs one lookup in the store an element and a bit a slot; it rests three
// times as long as it works, but for the first of a map and the last.
//
// # Maps that come, go and are replaced
//
// A target that leads to nothing yet is looked at each second; the map takes part
// from then on. One that is replaced, because a loader made a new map, is bound anew
// within some seconds and filled from the store: where the cluster knows a key,
// that wins over what the loader put there; what nobody knows is new. Members may
// have maps of different max_entries: what does not fit stays known, is told
// (Member.Room), and goes in when there is room.
//
// # Evictions
//
// A BPF_MAP_TYPE_LRU_HASH map lets go of keys to make room. With EvictLocal that is
// this host's matter: the entry stays in the store and with the others, and is not
// written here again until it changes. So that nobody keeps for ever what all let
// go of, a member deletes those of its own entries that it let go of before its
// latest max_entries such. A store has thus up to twice max_entries entries a
// member. With EvictDelete an eviction is a delete.
//
// # Deletes
//
// A delete is remembered, as a tombstone, until every member has it and
// Config.TombstoneMinAge has passed; then all forget it, within an exchange or
// two. A member that crashed, or is out of reach, is waited for until
// Config.ForgetAfter, Remove, or too many tombstones (twice the map's
// max_entries, 65536 at least); one that left in order is not. Back after that,
// it takes the cluster's state for every key that it did not change while it
// was away, and keeps its own new writes and deletes.
//
// # Restarts
//
// With Config.StateDir entries, tombstones and members survive: each entry is
// written down before the kernel map or another member gets it, so that kill -9
// loses nothing. On the same kernel map, what differs from the entries is what
// was changed while the Node was down: it is stamped at the start. Another
// kernel map, after a reboot or because a loader made a new one, is filled from
// the entries. Without, what the map holds at the start is the oldest there is:
// it loses to all that the cluster knows.
//
// # Hazards
//
// HAZARD: on an LRU map with EvictLocal, a delete of which the record was lost (a
// full ring, a skipped hook, capture by scan) passes for an eviction: it stays local.
//
// HAZARD: what is written to a map in the second or so between its replacement and
// its being bound counts as put there by the loader: it loses to what is known of
// the key. What was written to the old map in that time and not captured is lost;
// what was deleted in it by then is deleted everywhere.
//
// HAZARD: a member that was given up on, and then is back, can bring back what it
// wrote in the last half minute before it was lost and others deleted since: they
// can't tell it from what reached nobody, and nothing that may be new is dropped.
//
// HAZARD: without a state directory, a member that is back after it was given up
// on can't tell what it changed: what is in its map and not in the cluster is
// deleted. A delete that could not be applied to a frozen map is lost with it.
//
// HAZARD: a record's time is read in the hook, after the write, and a hook can
// be held up. Records and applies of a key that are closer than 20 ms are
// therefore not trusted for their order: the key is looked up and settled.
//
// HAZARD: a program that writes a key, is undone by a remote entry, and writes
// the very same value again without a record (in place, or lost) is not told
// apart from the remote entry never having been applied. The entry wins.
//
// HAZARD: wall clocks order concurrent writes of different members. A member
// whose clock is behind loses conflicts until its clock is mended; one whose
// clock is ahead by more than Config.MaxClockSkew is not listened to.
package mapgossip
