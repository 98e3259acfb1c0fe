// Command mapgossip keeps eBPF maps the same on any number of hosts.
//
// Subcommand agent is the daemon: one a host, around one mapgossip.Node. The
// others ask a running agent over its debug endpoint and print the answer.
// "mapgossip help" and "mapgossip COMMAND --help" are the manual.
//
// The package is wiring: flags and environment become a mapgossip.Config,
// errors become sentences and exit codes, signals end a context, and what the
// Node tells becomes JSON or a table. It decides nothing about replication.
//
// # Exit codes
//
// 0 stopped as asked, 1 failed while running, 2 usage or configuration, 3 this
// kernel or these privileges can't do it. See exitCode.
//
// # Hazards
//
// HAZARD: the debug endpoint has no authentication. It tells names, addresses,
// counters, keys and values to whoever can connect: therefore loopback by
// default, and mode 0660 for a unix socket. Profiles, and what changes something,
// are for whoever comes over loopback or that socket; a proxy on the agent's host
// comes over loopback too, on behalf of everyone that it lets in.
//
// HAZARD: a stream (entries, differences, changes) that fails half way ends with
// an object that has an error, and is cut off: a reader has to look for either.
//
// HAZARD: a unix socket on which nobody answers is taken for the leftover of an
// agent that was killed, and removed. An agent that is stopped (SIGSTOP) still
// accepts connections in the kernel, so its socket is not taken.
//
// HAZARD: the ages that "members", "maps" and "status" show are measured with
// the agent's clock, from the Date of its answer; they are off by up to a second.
package main
