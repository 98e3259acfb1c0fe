// Package control is the wire between a test and a host of the lab: it runs
// programs, moves files and opens connections on the host, over one byte
// stream and nothing else. The stream is a virtio-serial port of a guest under
// emulation or one end of a socket pair of a namespace; the package does not
// know which.
//
// [Serve] is the host's side, [Client] the test's. The stream carries yamux; each
// yamux stream is one operation. It begins with a request frame (JSON), goes on
// with what the operation wants, and ends when one side closes it. A frame is
// one byte of kind, four bytes of big-endian length and at most 1 MiB of
// payload.
//
// HAZARD: both sides are built from the same tree, and the protocol has no
// version. A stale labinit speaks an older one; package lab therefore rebuilds
// it each time unless it is told which one to use.
//
// HAZARD: there is no keep-alive, because a guest under software emulation may be
// silent for many seconds without being dead. A host that hangs is noticed by
// the caller's context; one that dies is noticed by the end of the stream.
package control
