// Package ether is the network of a lab: a learning Ethernet switch in this
// process, whose links between any two hosts can be cut, lose frames and delay
// them, each direction by itself.
//
// A port is a byte stream on which each frame is preceded by its length in four
// bytes, big endian: what QEMU's stream and socket network back ends speak, and what
// labinit speaks for a TAP device.
//
// HAZARD: a host sees a cut as silence, never as a link that is down. That is
// what a partition looks like, but it is not what a pulled cable looks like.
//
// HAZARD: a host that reads slowly loses frames at the end of its queue, as on a
// real switch. [Port.Counters] tells; a test that must not lose frames checks it.
package ether
