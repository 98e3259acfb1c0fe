// Package crdt gives the entries of a replicated map their meaning: which of two
// values of a key wins, on every member alike, whatever order, loss,
// duplication, partition or restart happened on the way. It decides and does
// nothing else: no clock of its own, no goroutine, no socket, no file, no log.
//
// A map is a set of entries, one a key. An [Entry] is the key's winning
// [Version] and its value, or a tombstone that says the key was deleted. A
// version is a [Timestamp] of a hybrid logical clock and the ID of the member
// that captured the change. Merging keeps the greater entry ([Entry.Compare]):
// later time, then greater member ID, then tombstone over value, then greater
// value bytes. That is a total order, so merging commutes, associates and may be
// repeated (Shapiro, Preguiça, Baquero, Zawirski: Conflict-free Replicated Data
// Types, 2011; this is their last-writer-wins element map).
//
// A [Clock] makes timestamps, a [Store] holds the entries of one map, a [Digest]
// tells whether two stores are equal, and the digests of [Buckets] where not.
//
// A tombstone goes once every member has it, which a store's [Progress] tells:
// members report up to what time their stores have everything, the least of that
// becomes the floor of all, and below it there are no tombstones. What comes
// later of a key that was deleted so is known by its version: the store had it,
// or a newer one, and has nothing now ([Progress.Covers]). This is causal
// stability by time (Baquero, Almeida, Shoker: Making Operation-based CRDTs
// Operation-based, 2014), for versions that members promise not to stamp below.
//
// What is promised: stores that merged the same entries are equal; the entry of
// a key never becomes a smaller one; every value in a store came from some
// Merge; memory is a function of the entries held. What is not: that concurrent
// values of a key are combined (one wins, the other is gone), order between
// keys, transactions.
//
// # Hazards
//
// Each of these is assumed not to happen. What breaks if it does:
//
// HAZARD: two members share an ID. They can then give one version to two values
// of a key. Members still converge, because the order goes on to the content,
// but the greater bytes win and not the later write.
//
// HAZARD: a member's physical clock is ahead. Its writes win over later writes
// of others by as much. Beyond the allowed skew others refuse its entries
// ([ErrFuture]) without moving their clocks; it keeps its values to itself until
// their time has caught up. Whoever refuses an entry must be offered it again:
// nothing here remembers it.
//
// HAZARD: a physical clock was ahead and is set back. [Clock.Now] does not
// follow it: it goes on counting from the highest time it gave out until
// physical time has passed that, and until then others may refuse what it
// stamps. [Clock.Stamp] follows it at once, except for keys whose entry carries
// the high time already.
//
// HAZARD: a member's physical clock is behind. Its writes lose against
// concurrent and even earlier writes of others, by as much. They never lose
// against the entry that they are known to have overwritten, which is what the
// second argument of Clock.Stamp is for; left zero for such a change, the
// write can lose on every member, its own included.
//
// HAZARD: a member restarts with a fresh Clock while physical time was set back,
// or lost its entries. It can give out timestamps that it gave out before.
// [Clock.Resume] from the highest one that was persisted; it does what it can
// where that is far ahead.
//
// HAZARD: the skew bound is checked by Clock.Observe alone. Store.Merge takes
// any timestamp up to the year 2262, and an entry with the greatest one can
// never be beaten by a later one. Observe first, merge what was not refused.
//
// HAZARD: two members start with different values of a key, both found in their
// maps ([Found]). The one that started first wins, which means little; any real
// write or delete beats both.
//
// HAZARD: a member stamps at or below what it promised (Mark.Has), because its
// clock was set back and its Progress was lost. Such a write counts as deleted
// where the floor has passed it and its key is unknown. [Clock.Stamp] after the
// promise keeps it; a member that lost its Progress learns its promise from the
// first other member.
//
// HAZARD: two clusters that never met, or a member that was waited for no
// longer and lost what it knew, come with entries of keys that the others
// deleted and forgot. Nothing tells them from new ones: they are merged.
//
// HAZARD: digests collide. Two different stores have equal digests with
// probability 2^-128, two different buckets with 2^-64. The members then believe
// to be equal and exchange nothing until the next change of that bucket.
//
// HAZARD: digests are forged. They are sums of hashes with public keys. Someone
// who can choose whole entries, timestamps included, can make different sets of
// them with equal digests, and so keep two members apart. Who can only choose
// keys and values is in a worse place, because the time of a captured change is
// some nanosecond of a kernel's clock; but entries found at first start have
// nearly the same. A digest is for members that trust each other and what
// their maps held at first start; it authenticates nothing.
//
// HAZARD: the encoding of an entry or one of the hashes changes between
// releases. Members of both never agree on a digest and exchange all entries at
// every round. testdata/wire.txt holds both still.
//
// HAZARD: a slice from [Store.Get], [Store.At] or [Store.All] is kept beyond the
// next Merge, or written to. It then shows another version, or another key's
// value, and writing makes the digest a lie that no exchange repairs.
package crdt
