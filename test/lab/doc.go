// Package lab gives tests and demos a few hosts on one Ethernet, each with a
// kernel that BPF trampolines can be attached to: guests under software emulation
// (QEMU, any of Debian's kernels for amd64 and arm64, on any machine), or network namespaces of this
// machine where its own kernel allows it.
//
//	l, err := lab.New(ctx, lab.Config{
//		Hosts:    []lab.HostConfig{{Name: "a", Kernel: "6.1"}, {Name: "b", Kernel: "6.12"}},
//		Files:    map[string]string{"/lab/mapgossip": "bin/mapgossip"},
//		Programs: []string{"bpftool"},
//		Progress: os.Stderr,
//	})
//	if err != nil { … }
//	defer l.Close()
//	a, b := l.Host("a"), l.Host("b")
//	agent := a.Command(ctx, "mapgossip", "agent", "--join", "b")
//	agent.Stderr = os.Stderr
//	err = agent.Start()
//	…
//	l.Cut(a, b)
//
// Hosts have 10.77.0.1, 10.77.0.2 and so on on eth0, in the order of Config.Hosts, and know
// each other by name. Each has its own /sys/fs/bpf, /tmp, /run and /lab. Commands, files and
// connections from outside ([Host.Command], [Host.ReadFile], [Host.DialContext]) do not use that
// network but a control channel, so they work whatever is cut, and no port of
// this machine is used.
//
// # What a user's machine needs
//
// Linux, and Go. For guests: qemu-system-x86_64 or qemu-system-aarch64 7.2 or later (Debian's packages
// qemu-system-x86 and qemu-system-arm), no root, no KVM; and Debian's archive, once, for the kernels
// (package kernels). About 1 GB of memory a guest. For namespaces: root, Linux 5.12,
// /dev/net/tun. [Install] brings what is missing on Debian.
//
// Programs put into hosts are for their architecture, by default this machine's; Go programs must be
// built with CGO_ENABLED=0 ([Build] and [BuildFor] do that), others take their shared libraries along
// (Config.Programs, which has none for another architecture).
//
// Command labrun (test/cmd/labrun) boots one guest for one program.
//
// # Choice
//
// MAPGOSSIP_LAB=guests or native in the environment overrides Config.Mode; without either it is
// native where [NativeTrampolines] finds no obstacle, else guests. MAPGOSSIP_LABINIT names a labinit
// program to use instead of building it, for machines without Go.
//
// # Assumptions that can fail
//
// HAZARD: emulation is 10 to 50 times slower than the machine, and with more guests
// than CPUs, unfair. Tests bound time by what is hung, not by what is slow.
//
// HAZARD: QEMU 7.2 corrupts flags in cmpxchg16b under emulation, and a kernel
// then panics now and then. The guests' CPU therefore has no cx16; do not "fix" that.
//
// HAZARD: QEMU now and then runs an instruction that the guest's kernel has patched
// meanwhile, a breakpoint that is gone: the kernel then oopses, as in sched_clock_cpu
// while it boots. A guest that goes down before it is up is booted once more, and that
// is told.
//
// HAZARD: an emulated 5.10 can hang for good when a tracepoint that is hot, such as
// sys_enter, is switched on or off: the CPUs go on running into the breakpoint of the
// patching, which is gone from memory (3 of 110 boots of mapwatch's guest tests); a 6.18
// oopsed there once. What tests attach to is therefore passed seldom.
//
// HAZARD: native hosts share one kernel: one BPF subsystem, one clock, one set of map
// IDs. A test that counts maps or programs of the machine sees those of all hosts.
//
// HAZARD: clocks of guests start within a second of this machine's, and drift.
package lab
