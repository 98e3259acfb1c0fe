// Package kernels fetches Debian's cloud kernels for guests: the kernel image and
// the few modules that a guest needs, kept in $XDG_CACHE_HOME/mapgossip/kernels/<series>/,
// with -<architecture> behind the series where that is not amd64 (by default below ~/.cache), outside of
// any source tree. Nothing is installed, and the machine's own apt set-up is not touched:
// apt runs with private lists and cache, so that it can take a kernel from another
// release than the machine's. Its proxy, if one is configured for apt, is used. The mirror
// is the machine's own. apt verifies the signatures.
//
// What a user's machine needs: apt-get, dpkg and Debian's archive keys
// (package debian-archive-keyring). Root is not needed.
//
// HAZARD: a kernel in the cache is never renewed. Delete its folder to get the
// newest; "5.10" or "6.12" names a series, not a version, and the newest of two machines
// may differ; so may [Newest]. [Kernel.Release] says which one it is.
//
// HAZARD: a release that Debian has archived is no longer on the mirrors. Only
// series in the suites listed in suite.go are found.
package kernels
