// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Capture without trampolines: a program that writes a hash map and then hands
 * each write to the code of capture.bpf.c, as the trampoline of
 * htab_map_update_elem would. It is for benchmarks, and for tests on hosts that
 * refuse trampolines; run it with BPF_PROG_RUN.
 *
 * Seen: what this program writes. Missed: every other write, our own among them:
 * preempt_source stays PREEMPT_NONE, so that no variable of the kernel is asked for.
 *
 * Since Linux 5.17 (bpf_loop); what capture.bpf.c calls is allowed in XDP
 * programs since 6.16.
 */

#include "capture.bpf.c"

#define DRIVE_KEY_BYTES 64
#define DRIVE_VALUE_BYTES 1024

/* Writes a run, so that a run ends soon. ABI with mapwatch/driven.go. */
#define DRIVE_RUN 256

/* Of the driven map, fixed before load. */
const volatile __u32 drive_value_bytes = 8;

/*
 * The writes are numbered. A run does those from drive_next to drive_stop,
 * which it leaves out: one that is begun again after a signal writes nothing
 * twice.
 */
volatile __u64 drive_next;
volatile __u64 drive_stop;
volatile __u64 drive_keys = 1; /* write n has the key n modulo drive_keys */

/* One run at a time uses them. */
static __u64 drive_key[DRIVE_KEY_BYTES / 8];
static __u64 drive_value[DRIVE_VALUE_BYTES / 8];

/* Replaced by the map to drive. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 8);
	__uint(value_size, 8);
} driven SEC(".maps");

/* The key is its number and zeros, the value the number of the write all over. */
static long drive_write(__u32 index, void *context)
{
	__u64 n = drive_next;
	__u32 i;
	long ret;

	if (n >= drive_stop)
		return 1;
	drive_key[0] = n % drive_keys;
	for (i = 0; i < DRIVE_VALUE_BYTES / 8 && i * 8 < drive_value_bytes; i++)
		drive_value[i] = n;

	ret = bpf_map_update_elem(&driven, drive_key, drive_value, BPF_ANY);
	saw((struct bpf_map *)&driven, HOOK_HASH_UPDATE, false, KIND_UPDATED, drive_key,
	    drive_value, ret);
	drive_next = n + 1;
	return 0;
}

SEC("xdp")
int drive(struct xdp_md *ctx)
{
	bpf_loop(DRIVE_RUN, drive_write, NULL, 0);
	return XDP_PASS;
}
