// Package ways finds out what becomes of a change to a map, for each map type
// and for each way that Linux has to change an element, on the kernel that it
// runs on, and makes a table of what it found on several.
//
// A cell of the table is a type and a way. It is measured as a user would: two
// Nodes in one process, joined over loopback. One is on this kernel and has
// the map; the other has a map of the same shape in memory (package fake). The
// way is done to the first one's map, and the other one's is looked at. What
// arrives while scans are an hour apart was captured. The ways of which nothing
// arrived are done again, on new maps and Nodes, with a scan a second.
//
// It needs root and a BPF file system, and what it finds holds for kernels that
// allow trampolines.
package ways
