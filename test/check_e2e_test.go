//go:build e2e

package test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

const (
	checkPin     = "/sys/fs/bpf/check"
	checkMapLine = `map +check: /sys/fs/bpf/check \(hash, id [0-9]+, key 4 bytes, value 4 bytes, at most 10 entries\)`
	checkMember  = `member +n of cluster mapgossip, not encrypted \(--keyring\)`
	checkBind    = `bind +0\.0\.0\.0:7946: TCP and UDP are free`
	checkNoBind  = `bind +0\.0\.0\.0:7946: not tried, because of what is before it`
	checkHTTP    = `http +127\.0\.0\.1:7947: free`
	checkReady   = `result +ready to run; nothing was sent, nothing was changed`
	checkWaits   = `result +the agent would start, and wait for 1 of 1 maps; nothing was sent, nothing was changed`
	checkFails   = `result +the agent would not start: see the errors`
	checkNoMap   = `map +check: the agent would wait for it: open map /sys/fs/bpf/check: not found: nothing is pinned there; has the program that owns the map been loaded\?`
)

// checkCase is a host that lacks something, and what --check says of it.
type checkCase struct {
	name   string
	within string   // a shell command that takes something away from itself and what it starts
	caps   string   // capabilities that are left, beside none; "all": all
	why    string   // the reason against hooks; a pattern
	first  []string // lines, where there is no reason to give
}

func checkCases() []checkCase {
	const eperm = `the kernel answered EPERM and this process lacks %; grant what it lacks \(or CAP_SYS_ADMIN\), or use capture mode scan: not permitted`
	lacks := func(what string) string { return `load the capture programs: ` + strings.ReplaceAll(eperm, "%", what) }
	return []checkCase{
		{name: "nothing", caps: "all", first: []string{checkMapLine, `capture +fexit`, checkMember, checkBind, checkHTTP, checkReady}},
		{
			name: "BTF", caps: "all", within: "mkdir -p /tmp/empty && mount --bind /tmp/empty /sys/kernel/btf",
			why: `read the kernel's type information: /sys/kernel/btf/vmlinux is not there: the kernel was built without CONFIG_DEBUG_INFO_BTF, or this container has no /sys; use capture mode scan or another kernel: not supported by this kernel`,
		},
		{name: "CAP_PERFMON", caps: ",+bpf", why: lacks("CAP_PERFMON")},
		{name: "CAP_BPF", caps: ",+perfmon", why: lacks("CAP_BPF")},
		{name: "both capabilities", caps: "", why: lacks("CAP_BPF and CAP_PERFMON")},
		{
			name: "map", caps: "all", within: "rm " + checkPin,
			first: []string{checkNoMap, `capture +not tried: there is no map yet`, checkMember, checkBind, checkHTTP, checkWaits},
		},
		{
			name: "BPF file system", caps: "all", within: "umount /sys/fs/bpf",
			first: []string{
				checkNoMap + ` \(/sys/fs/bpf is not on a BPF file system; is it mounted: mount -t bpf bpf /sys/fs/bpf\?\)`,
				`capture +not tried: there is no map yet`, checkMember, checkBind, checkHTTP, checkWaits,
			},
		},
	}
}

// TestCheck holds what agent --check says on a host that lacks something: what
// was tried, why it failed and what to do. By default the agent then scans, and
// the answer is 0; where hooks are asked for, it is 3.
func TestCheck(t *testing.T) {
	for _, c := range checkCases() {
		t.Run(c.name, func(t *testing.T) { c.run(t, shared.hosts[2]) })
	}
}

// TestCheckLockdown is TestCheck on a kernel that keeps its memory to itself.
func TestCheckLockdown(t *testing.T) {
	if shared.Mode() == lab.Native {
		return // one kernel, which is not locked down
	}
	files, err := stage.Files(t.Context(), t.TempDir(), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(t.Context(), lab.Config{
		Hosts: []lab.HostConfig{{Name: "locked", Kernel: "6.12", Lockdown: lab.LockdownConfidentiality}},
		Files: files, Programs: []string{"setpriv", "busybox"}, Mode: lab.Guests,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	checkCase{caps: "all", why: `hook the kernel's map functions: the kernel is locked down for confidentiality \(/sys/kernel/security/lockdown\) and lets no BPF program read its memory; use capture mode scan, or boot with lockdown=integrity or none: not permitted`}.run(t, l.Host("locked"))
}

func (c checkCase) run(t *testing.T, h *lab.Host) {
	do(t, h, "labmap create %s 4 4 10", checkPin)
	t.Cleanup(func() { // the case may have removed it
		_, _ = h.Do(context.Background(), "rm", "-f", checkPin)
	})
	lines := c.first
	if c.why != "" {
		lines = []string{checkMapLine, `capture +scan, because capture by fexit and fentry: ` + c.why, checkMember, checkBind, checkHTTP, checkReady}
	}
	c.says(t, h, "", 0, lines, "")
	if c.why == "" {
		return
	}
	for _, mode := range []string{"fexit", "fentry"} {
		c.says(t, h, " --capture "+mode, 3, []string{checkMapLine, checkNoBind, checkHTTP, checkFails},
			`mapgossip: capture map changes: capture by `+mode+`: `+c.why+"\n")
	}
}

// says runs --check and compares all that it says.
func (c checkCase) says(t *testing.T, h *lab.Host, flags string, code int, lines []string, stderr string) {
	t.Helper()
	line := "exec mapgossip agent --check --node n --log-level error --map " + checkPin + flags
	if c.within != "" {
		line = c.within + " && " + line
	}
	argv := []string{"unshare", "-m", "sh", "-c", line}
	if c.caps != "all" {
		argv = append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=-all" + c.caps}, "sh", "-c", line)
	}
	var out, talk bytes.Buffer
	command := h.Command(t.Context(), argv...)
	command.Stdout, command.Stderr = &out, &talk
	err := command.Run()
	var exit *lab.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	pattern := strings.Join(lines, "\n") + "\n"
	if got := exitCode(err); got != code ||
		!regexp.MustCompile("^"+pattern+"$").MatchString(out.String()) || !regexp.MustCompile("^"+stderr+"$").MatchString(talk.String()) {
		t.Errorf("--check%s: exit code %d, want %d, of\n%s%s\nwant\n%s%s", flags, got, code, &out, &talk, pattern, stderr)
	}
}
