// Package simnet is a network in memory for members of a cluster: packets that
// get lost, late, doubled and out of order, streams that stall, links that are
// cut one way or both, hosts that stall or vanish. It counts bytes. It uses only timers and channels, so
// that under testing/synctest ten minutes pass in milliseconds.
//
// Packets model UDP. A stream models TCP: in order, without loss, each
// direction buffered up to a window; while its link is cut nothing moves, a
// dial waits for its timeout, and after the heal all goes on where it stood.
//
// HAZARD: everything must be created inside one synctest bubble, and every
// transport shut down before the bubble ends.
package simnet
