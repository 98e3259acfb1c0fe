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
// A local change is queued for each member that audience chooses: all of them
// up to 32 members. Of one key only the newest entry waits. An idle queue is
// flushed at once, a busy one every millisecond: what fits one packet goes by
// packet, and by stream if it was not acknowledged within 300 ms; more goes by
// streams, at most 2 MiB unacknowledged. A frame is acknowledged once
// Replica.Merge returned. A member that acknowledges nothing for 15 s loses its
// queue and gets nothing more until it is heard again.
//
// Anti-entropy is what makes members converge; rumors only make it fast. Each
// SyncInterval, on joining, after a reconnect and after rumors were dropped, two
// members compare the digests of their maps. For a map that differs they
// compare 4096 bucket digests, and send each other their entries of the buckets
// that differ, at most 1 MiB unacknowledged, in frames of 256 KiB. memberlist's
// own push/pull carries only the digests: its payload is capped at 20 MiB.
//
// # Membership
//
// The memberlist name is node ID plus boot ID, so that a restart is a new member
// at once; data are keyed by node ID. Addresses of seeds are tried for ever,
// those of lost members for an hour.
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
// HAZARD: memberlist allocates the announced length of a user message, up to
// 20 MiB, before it reads it. At most 512 inbound streams exist at once, and
// 64 a connection; untouched memory is not resident, but a hostile host with
// the cluster's name should be kept from the port by a firewall.
package gossip
