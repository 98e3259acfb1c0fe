package mapwatch

// The object and its loader are committed, so that nobody needs clang to build.
// One object serves every little-endian machine: the programs take their
// arguments from the trampoline's context, not from registers. clang is pinned
// to one major, so that generating again makes no difference; the include path
// only leads to asm/types.h, the same on all of these machines.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types capture ../bpf/capture.bpf.c -- -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -idirafter /usr/include/x86_64-linux-gnu

// The driven capture; see driven.go.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types drive ../bpf/drive.bpf.c -- -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -idirafter /usr/include/x86_64-linux-gnu

// Programs that only tests load.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -tags guest -output-suffix _test -no-global-types writers ../bpf/writers.bpf.c -- -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -idirafter /usr/include/x86_64-linux-gnu
