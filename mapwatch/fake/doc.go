// Package fake has a kernel in memory that keeps the contracts of package
// mapwatch, for tests and simulations: package conformance runs on it and on
// the real kernel alike.
//
// A test adds maps to a Kernel and keeps the *Map, which is the side of the
// programs that own the map: what it writes is captured, what a mapwatch.Map
// applies is not. Faults are armed on the *Map and strike the next operations.
//
// A Kernel outlives those who use it: Kernel.Kill ends them as kill -9 does, and
// what opens maps and watches after that is the next process.
//
// All waiting is on channels and package time, so that a test inside
// testing/synctest has virtual time and "idle" means idle. A Watch is one
// goroutine, which has no timer while nothing happens.
//
// # Where it differs from the real kernel
//
// Everything happens one at a time, under one mutex a Kernel: two writers never
// overlap inside an operation. No two stamps are equal: when the clock that
// was given to NewKernel stands still (as in a synctest bubble), each event is
// one nanosecond after the last. Scans go in key order, so that runs replay. An
// LRU hash map evicts only when it has max_entries elements, and then exactly the
// one that was written least recently. No write is skipped, so Counts.Caught is 0.
package fake
