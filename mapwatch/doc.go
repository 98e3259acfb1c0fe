// Package mapwatch owns the kernel: it finds eBPF maps, reads and writes them,
// and captures what others write to them. It knows nothing of replication.
//
// A Kernel opens maps by a target (see ParseTarget) and watches them. Host is
// the kernel that this process runs on; package fake has one in memory; package
// conformance tests that both keep the contracts that are written here.
//
// Three words: capture is from the kernel to us (Watch), apply is from us to
// the kernel (Map.Apply), scan is to read the whole map (Map.Scan). What we
// apply is never captured.
//
// # Which maps
//
// BPF_MAP_TYPE_HASH, preallocated or not, LRU_HASH, ARRAY and LPM_TRIE, with keys
// and values of every size that the kernel allows; see TypeHash and so on for what
// a key is. Other types are refused with the reason: values that are pointers,
// descriptors or slots of CPUs mean nothing on another host.
//
// # What it needs
//
// Linux 5.6 to scan (batch lookup; tries also without), 5.10 to capture by hooks.
// Tries want a kernel with the fix of trie_get_next_key in 6.13 and in stable ones
// of 2025; Open refuses them otherwise. A pin path can be opened by whoever may
// read and write the file, with CAP_BPF where the kernel wants it; the hooks want
// CAP_BPF and CAP_PERFMON (before 5.12 CAP_SYSLOG, and CAP_SYS_RESOURCE where
// RLIMIT_MEMLOCK is low), pinned ones (Options.Pins) a directory of a BPF file
// system that is ours to write. To find maps by id: or name: the kernel wants
// CAP_SYS_ADMIN.
//
// # Assumptions that can fail
//
// HAZARD: some writes call no function that can be hooked: through a looked-up
// pointer, atomic adds, bpf_for_each_map_elem. Records get lost, too (Counts).
// Only a scan finds those changes, so every Watch needs one now and then.
//
// HAZARD: records of one key from different CPUs can arrive in another order
// than the writes had. The last record need not be what the map holds: look.
//
// HAZARD: Map.Lookup takes no lock. If the key is overwritten meanwhile, the
// bytes of another key's value can come back (preallocated maps reuse elements
// at once). A value that a program changes in place can come back half changed,
// from Lookup and Scan alike, and every write to an array is in place. Map.Scan
// is immune to the first, not the second.
//
// HAZARD: an open map is kept alive. The program that owns it may have pinned
// another one in its place long ago, and then nobody reads what we apply:
// ask Map.Current now and then. A name: target has a further catch, see
// Host.Open.
//
// HAZARD: a bpf_spin_lock, bpf_timer, kptr or another field of the kernel's in a
// value reads as zero in Lookup and Scan, and what Apply is given for it is not
// written; hooks recognise such maps and send Touched instead of the raw bytes.
// Where there is a bpf_spin_lock, Lookup, Scan and Apply take it (BPF_F_LOCK), so
// that those who write in place under it are never seen half. But a timer or kptr
// belongs to the element and not to the key: an Apply over it, or its delete,
// ends the timer and lets go of the kptr, as any bpf_map_update_elem does, and
// the program has to set them again.
//
// HAZARD: a full LPM trie of kernels before 6.13 and its stable relatives refuses
// to overwrite, too (5.10): Op.Err wraps ErrFull for a key that the trie has.
//
// HAZARD: what an LRU hash map has room for is less than max_entries, because
// each CPU keeps elements in reserve, and an overwrite wants room as well: each
// Apply can evict an element that is in use here.
//
// HAZARD: our own writes are told from others by the thread that makes them, so
// that all go through one OS thread a Host, which does nothing else: it must
// never send a packet or run a program. A foreign fentry or fexit program that
// writes a watched map from inside our own apply counts as ours, until a scan.
//
// HAZARD: a capture that is pinned (Options.Pins) outlives the thread that was
// ours, and the kernel may give its ID to another one. The programs therefore
// compare the time at which a thread began as well, which no two threads of one
// ID share; and Watch.Close makes them forget it, because a thread can outlive
// its Watch, too.
//
// HAZARD: a pinned capture knows maps by their IDs and does not keep them alive.
// The kernel gives an ID again only after 2^31 other maps.
//
// HAZARD: a pinned capture is only as safe as the ring is large: what comes when it
// is full is counted and answered by a rescan, which finds what the map holds then
// and not when it changed. After kill -9 every map is rescanned, because records
// that were read from the ring may not have been handled.
//
// HAZARD: Change.Source is what the CPU was doing, and not proof of who wrote: a
// program that writes in the middle of a map's system call can count as that call
// (see Source), and of an interrupt PID and Comm are whoever was interrupted. They
// are there for people to read; decide nothing by them.
//
// HAZARD: on PREEMPT_RT the kernel keeps the softirq depth elsewhere than in
// the preempt count. Whether a write in a softirq on the apply thread's CPU is
// recognised there was not measured.
package mapwatch
