// Package gossip owns the network: membership, spreading of rumors and
// anti-entropy between the members of a cluster. It knows nothing of maps in a
// kernel; a Replica gives and takes the entries.
//
// # How an entry travels
//
// memberlist gives membership, failure detection, encryption and the two
// carriers, packets and streams. Entries do not use its broadcast queue (at its
// defaults that moves some 75 small entries a second for the whole cluster),
// but messages of our own, called frames: a checksummed envelope around msgpack,
// with the entries of one map by columns.
//
// A change is queued for each member that audience chooses, as the slot of its
// key in the store: the entry is read when it leaves, so of one key the newest
// is sent, and what waits for a member takes some 5 to 20 bytes a key, whatever
// the rate of changes. Local changes leave before those that are passed on, but
// for one frame in 8, and maps take turns. An idle queue is flushed at once, a
// busy one every millisecond, and every 2 ms under a load that fills frames:
// what fits one packet goes by packet, and by stream if it was not acknowledged
// within 300 ms; more goes by streams, at most 2 MiB unacknowledged. A frame is
// acknowledged once Replica.Merge returned. A member that acknowledges nothing
// for 15 s loses its queue and gets nothing more until it is heard again.
//
// Up to 32 members a change goes from its origin to all others, and nobody
// passes it on. In a larger cluster the members that take part in the map form a
// ring by name. Each tells its successors at a few fixed distances (of 100
// members those at 1, 5 and 22), and so does each to which the change was
// new, except to whom it came from. A member gets at most as many copies as it
// has successors, and is told by as many, so that some may be lost or stand
// still; a rumor reaches 100 members in 10 hops. Where the views of members
// differ, anti-entropy brings what rumors miss.
//
// Anti-entropy is what makes members converge; rumors only make it fast. Each
// SyncInterval, on joining, after a reconnect and after rumors were dropped, two
// members compare the digests of their maps: some hundred bytes if they are
// equal. If not, they look again a little later, because rumors may have been on
// their way, and then narrow down where they differ in a session about the map:
//
//	asker   start    4096 bucket digests
//	other   want     the buckets that differ, and those in which it has nothing
//	both    batches  all entries of the buckets that are empty on the other side
//	then for at most 256 of the other buckets at a time, a chunk:
//	asker   parts    48-bit sums of the buckets' parts, of 8 to 16 entries each
//	other   prints   48-bit fingerprints of its entries in the parts that differ
//	asker   lack     which of these it lacks; how new those are that only it has
//	other   batches  the former, where the asker has no newer one of the key
//	other   chunk    once they are merged
//	asker   batches  its entries in these parts that the other lacks
//	and at last:
//	both    end      once all is merged
//
// A map is filled once this member has had a whole exchange of it, in this run,
// or is alone with it. A member runs one session at a time about maps that are not
// filled, and the others leave it to begin, so that it gets a map once; until then
// it passes on nothing that it is told of the map. Maps may be added while all runs
// (Cluster.Add): the others are told at once, each until it answers, and the map is
// filled without waiting for rumors to settle.
//
// With its digests a member reports its Progress (package crdt): up to when its
// store has whose entries, and what others told of theirs. Equal digests and
// complete sessions raise that, and once all have a tombstone, it goes
// everywhere. An entry that was deleted so is answered with a tombstone of its
// own version, which deletes it where it came from. With the digests goes, too,
// how much each map's kernel map can hold (Room). Streams overtake each other, so
// what a member tells is numbered, and of its maps the last that it sent counts.
//
// Sums and fingerprints are salted by the session, so that a collision does not
// last. Batches have at most 1 MiB unacknowledged, in frames of 192 KiB. A
// session that was cut is not resumed: the next one finds less that differs.
// Of a million entries 100 that differ cost some 70 KB, most of it bucket
// digests. memberlist's own push/pull carries only the digests of maps: its
// payload is capped at 20 MiB.
//
// # Membership
//
// The memberlist name is node ID plus boot ID, so that a restart is a new member
// at once; data are keyed by node ID.
//
// Addresses of seeds, and the last 256 of members that were lost or left, are
// tried for ever, each 5 to 10 s, 16 at a time at most: memberlist does not heal
// by itself a partition that lasted longer than some 15 to 40 s. One that
// answers and is no member of ours, or is one by another address, is asked each
// 15 to 20 s. Names are resolved again each time; while that fails, they mean
// what they meant. Who hears of a member compares all that it knows of
// membership with up to three others in the next seconds, because gossip now and
// then misses somebody; who suspects one asks it again each second.
//
// memberlist's defaults are changed as follows: the label is the cluster's name;
// no compression (it costs more than small binary entries gain); gossip each
// 100 ms; a longer hand-off queue, because its overflow drops suspicions along
// with rumors; delegate protocol versions set.
//
// # Transport
//
// One TCP and one UDP port. Streams to one member share one TCP connection by
// yamux, because memberlist dials for each message, and at some 470 a second to
// one address a host runs out of ports.
//
// # Hazards
//
// HAZARD: keys are changed on the members that are alive. One that is away while an
// old key is removed is shut out when it comes back, until its keyring is mended; and
// any member may change the keys of all, as it may change all maps.
//
// HAZARD: without a keyring anybody who reaches the port and knows the cluster's
// name can write any entry. With one, any holder of the key can; there is no
// identity below that, and no protection from replay. A frame names its sender,
// and nothing proves it.
//
// HAZARD: the state suspect is learned from a line of memberlist's log
// ("Suspect NAME has failed"), because it tells it in no other way. Should the
// line change, suspects show as alive until they are dead. Left and dead are
// told apart by a goodbye of our own for the like reason.
//
// HAZARD: memberlist believes dead what it cannot reach, and alive for some
// seconds what is gone. Nothing here deletes data, or calls anything complete,
// because a member is dead; membership chooses only whom to talk to.
//
// HAZARD: a checksum guards each frame because memberlist corrupts packets with
// more than 254 piggy-backed messages (its pull request 239); we add none.
//
// HAZARD: a member may name up to a million fingerprints in one chunk, which
// costs some 50 MiB while the session lasts; at most 4 sessions of our own (and
// 4 more for each call of Sync and Leave) and 16 of others run at once, each
// bounded so.
//
// HAZARD: memberlist allocates the announced length of a user message, up to
// 20 MiB, before it reads it. At most 512 inbound streams exist at once, and
// 64 a connection; untouched memory is not resident, but a hostile host with
// the cluster's name should be kept from the port by a firewall.
//
// HAZARD: memberlist v0.7.0 takes compressed messages apart, up to 40 MiB of some
// bytes, and cannot be told not to. Of encrypted streams 4 are with it at a time,
// in the clear compressed streams are cut, and packets it takes one after the other:
// so who holds the key can make some hundred MiB grow for a while, and no more. Its
// decryption panics on old versions and empty messages, which inspect.go holds back.
//
// HAZARD: whoever holds the key can make up members: 4096 live at most, and while
// 1024 went within two minutes no new ones are taken in, real ones neither. Each
// indirect ping that is asked for costs memberlist some KiB for half a second.
package gossip
