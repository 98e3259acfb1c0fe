// Command kernels finds out what becomes of each change to a map on several
// kernels, and makes the tables of it in the README and in package ways. For each
// kernel, with each kind of preemption that it offers, it boots a guest, runs
// command ways in it, and mapwatch's own tests.
//
// With -check it writes nothing: it fails, and says in what, if what it finds
// differs from what was found when the tables were made. It needs what package lab needs, and the
// module's root as its working directory.
package main
