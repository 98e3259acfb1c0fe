// Package raceproc lets tests in virtual time run under the race detector; import it
// for that effect in one test file of each package that has such tests.
//
// A bubble of testing/synctest has one race context for all its timers, and goroutines
// that receive from timers at the same time use it at the same time (Go 1.26,
// golang/go#78156): the detector's stack of calls is broken, and some other minute the
// process dies in the detector by a segmentation fault or a failed CHECK. With one
// processor no two do. What the detector reports rests on what happens before what, not
// on what runs at the same time, and it shuffles the goroutines that wait to run.
package raceproc
