//go:build host

package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/lab/kernels"
	"github.com/mapgossip/mapgossip/test/need"
)

const (
	hostKernel   = "6.12"
	hostRelease  = "bookworm"
	hostPackages = "systemd,systemd-sysv,kmod,procps,curl,bpftool,ca-certificates"
	hostSteps    = 38 // in testdata/host.sh
)

// TestHost is a host as operators have it, emulated: Debian with systemd and an engine
// for containers. It does what deploy/systemd/README.md says, and then all that may
// befall the unit and the container.
func TestHost(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	kernel, err := kernels.Fetch(t.Context(), hostKernel, "amd64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	debian := filepath.Join(dir, "debian")
	t.Log("making a root directory of Debian's packages")
	shell(t, "debootstrap", "--variant=minbase", "--include="+hostPackages, hostRelease, debian)
	const engine = "cp /etc/resolv.conf $1/etc/ && chroot $1 apt-get update -qq && " + // what debootstrap cannot resolve
		"DEBIAN_FRONTEND=noninteractive chroot $1 apt-get install -y -qq --no-install-recommends podman crun golang-github-containers-common"
	shell(t, "sh", "-c", engine, "sh", debian)
	shell(t, "sh", "-c", "cd $1 && rm -rf usr/share/doc usr/share/locale usr/share/man var/cache/apt var/lib/apt/lists etc/systemd/system/getty.target.wants", "sh", debian)
	home := filepath.Join(debian, "root")
	build(t, root, filepath.Join(home, "mapgossip"))
	put := func(name, text string, mode fs.FileMode) {
		t.Helper()
		name = filepath.Join(debian, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("init", read(t, "test/deploy/testdata/init.sh"), 0o755)
	put("root/host.sh", read(t, "test/deploy/testdata/host.sh"), 0o755)
	put("etc/hostname", "host\n", 0o644)
	put("etc/systemd/system/test.service", "[Unit]\nAfter=multi-user.target\n[Service]\nEnvironment=HOME=/root\nExecStart=/root/host.sh\n", 0o644)
	if err := os.MkdirAll(filepath.Join(debian, "etc/systemd/system/multi-user.target.wants"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../test.service", filepath.Join(debian, "etc/systemd/system/multi-user.target.wants/test.service")); err != nil {
		t.Fatal(err)
	}
	put("root/mapgossip.service", read(t, "deploy/systemd/mapgossip.service"), 0o644)
	env := strings.NewReplacer("MAPGOSSIP_JOIN=lb-1.example lb-2.example", "MAPGOSSIP_JOIN=", "#MAPGOSSIP_BIND=192.0.2.1", "MAPGOSSIP_BIND=127.0.0.1")
	put("root/mapgossip.env", env.Replace(read(t, "deploy/systemd/mapgossip.env")), 0o644)
	_, commands, _ := strings.Cut(read(t, "deploy/systemd/README.md"), "```\n")
	commands, _, _ = strings.Cut(commands, "```")
	put("root/install.sh", commands, 0o644)
	_, image, _ := strings.Cut(read(t, "deploy/Dockerfile"), "FROM scratch\n")
	put("root/image/Dockerfile", "FROM scratch\n"+strings.Replace(image, "COPY --from=build /mapgossip", "COPY mapgossip", 1), 0o644)
	program, err := os.ReadFile(filepath.Join(home, "mapgossip"))
	if err != nil {
		t.Fatal(err)
	}
	put("root/image/mapgossip", string(program), 0o755)
	put("root/docker.json", likeDocker(t, filepath.Join(debian, "usr/share/containers/seccomp.json")), 0o644)

	initramfs, console, report := filepath.Join(dir, "initramfs"), filepath.Join(dir, "console"), filepath.Join(dir, "report")
	shell(t, "sh", "-c", "cd $1 && find . -xdev | cpio -o -H newc --quiet >$2", "sh", debian, initramfs)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	t.Log("booting it")
	machine := exec.CommandContext(ctx, lab.Emulator("amd64"), "-machine", "q35", "-cpu", "max,-cx16", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "4096",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", kernel.Image, "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 oops=panic rdinit=/init mitigations=off systemd.show_status=0 quiet",
		"-serial", "file:"+console, "-serial", "file:"+report)
	out, err := machine.CombinedOutput()
	text, _ := os.ReadFile(report)
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r", "")), "\n")
	ok := 0
	for _, line := range lines {
		switch verdict, what, _ := strings.Cut(line, " "); verdict {
		case "ok":
			ok++
			t.Log(what)
		case "done":
		default:
			t.Errorf("%s %s", verdict, what)
		}
	}
	if last := lines[len(lines)-1]; err != nil || last != "done" || ok != hostSteps {
		said, _ := os.ReadFile(console)
		t.Errorf("%d of %d steps, the last line is %q; the machine: %v %s\n%s", ok, hostSteps, last, err, out, said)
	}
}

// likeDocker is Podman's seccomp profile with what Docker's has beside it since 23.
func likeDocker(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	allowed := []any{}
	for _, rule := range profile["syscalls"].([]any) {
		rule := rule.(map[string]any)
		if names, _ := json.Marshal(rule["names"]); rule["action"] != "SCMP_ACT_ERRNO" || !bytes.Contains(names, []byte(`"bpf"`)) {
			allowed = append(allowed, rule)
		}
	}
	profile["syscalls"] = append(allowed, map[string]any{
		"names": []string{"bpf"}, "action": "SCMP_ACT_ALLOW", "args": []any{}, "includes": map[string]any{"caps": []string{"CAP_BPF"}}, "excludes": map[string]any{},
	})
	text, err = json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHostSteps counts what testdata/host.sh expects.
func TestHostSteps(t *testing.T) {
	if n := len(regexp.MustCompile(`(?m)^expect `).FindAllString(read(t, "test/deploy/testdata/host.sh"), -1)); n != hostSteps {
		t.Errorf("%d steps, hostSteps is %d", n, hostSteps)
	}
}

func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out[max(0, len(out)-2000):])
	}
}
