// Command bench measures this project against yardsticks on the machine that it
// runs on, and prints one table: what was measured, the result, the yardstick
// beside it, measured in the same run, the ratio of the two, and the goal.
//
// It needs root: it works in a network namespace of its own, whose loopback
// interface counts the bytes, and drives maps by XDP programs run with
// BPF_PROG_RUN (mapwatch.Driven, Linux 6.16), so that no trampoline is needed.
//
// # What is what
//
// The bare pipe is the least that replication can be: the driven program, its
// ring, a plain reader, TCP on loopback, and batch updates of a second map. It
// has no clock, no merge and no membership. Its two ends are two processes, as
// the two agents are that are measured beside it.
//
// An entry is 16 bytes of key and 64 of value. CPU is user and system time of
// both ends, the writing program's included. Bytes are all that loopback
// carried, headers, acknowledgements and probes of other members included.
//
// # HAZARD
//
// On few cores the writer, two agents and whoever looks at the maps share
// them: a rate says what the whole took, not what one agent can do.
package main
