// Package test has what needs more than one room: the arrows between packages,
// end-to-end tests on real kernels (build tag e2e, run in a lab of several
// hosts), the demo (cmd/demo) and the tools that they put on hosts
// (cmd/labmap, cmd/labinit). Package test/lab makes the hosts, test/stage puts
// the agent on them, and test/need decides whether a test that needs a
// capability may skip. Package test/ways finds out what becomes of each change to a
// map (cmd/ways, in a guest), and cmd/kernels makes the README's table of it.
//
// MAPGOSSIP_CHURN=60s,5000 makes TestChurn as long and as hard as what agents
// must bear: each host cut off for that long, and that many writes a second.
package test
