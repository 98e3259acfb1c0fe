//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestCheckKernel(t *testing.T) {
	const v6_1, v5_10, v5_9 = 6<<16 | 1<<8 | 176, 5<<16 | 10<<8, 5<<16 | 9<<8 | 255
	for _, test := range []struct {
		version  uint32
		lockdown string
		want     error
		says     string
	}{
		{v6_1, "[none] integrity confidentiality\n", nil, ""},
		{v6_1, "none [integrity] confidentiality\n", nil, ""},
		{v6_1, "", nil, ""},
		{v5_10, "", nil, ""},
		{v5_9, "", ErrUnsupported, "kernel 5.9 does not let"},
		{v6_1, "none integrity [confidentiality]\n", ErrPermission, "lockdown=integrity"},
	} {
		err := checkKernel(test.version, test.lockdown)
		if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("version %#x, lockdown %q: %v", test.version, test.lockdown, err)
		}
	}
}

func TestExplainRefusal(t *testing.T) {
	for _, test := range []struct {
		err  error
		want error
		says string
	}{
		{fmt.Errorf("program update_fexit: load program: %w", unix.EPERM), ErrPermission, "EPERM"},
		{fmt.Errorf("load program: %w", &ebpf.VerifierError{Cause: unix.EACCES}), ErrUnsupported, "verifier refused"},
		{fmt.Errorf("attach: %w", unix.EBUSY), ErrUnsupported, "other tools"},
		{fmt.Errorf("attach: %w", unix.E2BIG), ErrUnsupported, "other tools"},
		{fmt.Errorf("create map: %w", unix.ENOMEM), ErrUnsupported, "smaller ring"},
		{fmt.Errorf("attach: %w", unix.Errno(524)), ErrUnsupported, "has no trampolines"},
	} {
		err := explainRefusal("do something", test.err)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "do something: ") {
			t.Errorf("%v: %v", test.err, err)
		}
		if strings.Contains(err.Error(), "MEMLOCK") {
			t.Errorf("%v: names RLIMIT_MEMLOCK", err)
		}
	}
}

func TestExplainEPERM(t *testing.T) {
	for _, test := range []struct {
		missing []string
		capErr  error
		says    string
	}{
		{nil, nil, "this host's policy refuses trampolines"},
		{[]string{"CAP_BPF", "CAP_PERFMON"}, nil, "lacks CAP_BPF and CAP_PERFMON;"},
		{[]string{"CAP_PERFMON"}, nil, "lacks CAP_PERFMON;"},
		{nil, unix.EFAULT, "CAP_BPF and CAP_PERFMON are needed"},
	} {
		err := explainEPERM("load", test.missing, test.capErr)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, %v: %v", test.missing, test.capErr, err)
		}
	}
}

func TestLackingCapabilities(t *testing.T) {
	const admin, bpf, perfmon = uint64(1) << 21, uint64(1) << 39, uint64(1) << 38
	for _, test := range []struct {
		effective uint64
		want      []string
	}{
		{admin, nil},
		{bpf | perfmon, nil},
		{bpf, []string{"CAP_PERFMON"}},
		{perfmon, []string{"CAP_BPF"}},
		{0, []string{"CAP_BPF", "CAP_PERFMON"}},
	} {
		if got := lackingCapabilities(test.effective); !slices.Equal(got, test.want) {
			t.Errorf("%#x: %v, want %v", test.effective, got, test.want)
		}
	}
}
