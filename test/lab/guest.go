package lab

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// emulator is what runs the guests of one architecture.
type emulator struct {
	arch    string // as Go names it
	program string
	debian  string   // package
	options []string // of the program
	words   []string // on the kernel's command line
}

// emulators has those of this machine's architecture and of others.
func emulators() []emulator {
	return []emulator{{
		arch: "amd64", program: "qemu-system-x86_64", debian: "qemu-system-x86",
		options: []string{"-cpu", "max,-cx16"}, // see HAZARD in doc.go
		words: []string{
			"console=ttyS0", "8250.nr_uarts=1",
			"tsc=reliable", "no_timer_check",
		},
	}, {
		arch: "arm64", program: "qemu-system-aarch64", debian: "qemu-system-arm",
		// This CPU has the atomic instructions of 8.1, but no pointer authentication, which is slow to emulate.
		options: []string{"-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"},
		words:   []string{"console=ttyAMA0"},
	}}
}

// emulatorOf is the one for that architecture, if there is one.
func emulatorOf(arch string) (emulator, bool) {
	all := emulators()
	i := slices.IndexFunc(all, func(e emulator) bool { return e.arch == arch })
	if i < 0 {
		return emulator{}, false
	}
	return all[i], true
}

// guestCommand is QEMU with one disk-less machine: kernel, initramfs, serial console,
// control port and network card. kilohertz is the frequency of this machine's time stamp counter,
// which an amd64 guest has too; 0 if unknown.
func guestCommand(p plan, image guestImage, kilohertz int) *exec.Cmd {
	e, _ := emulatorOf(p.Arch) // choose has seen to it
	line := slices.Concat(e.words, []string{
		"quiet", "loglevel=4",
		"panic=-1", "oops=panic", // a kernel that is broken ends QEMU at once (with -no-reboot)
		"mitigations=off",     // emulated, they cost much and protect nothing
		"random.trust_cpu=on", // getrandom(2) does not wait for entropy
	}, p.bootLine(), strings.Fields(p.Words), p.settings)
	if kilohertz > 0 && p.Arch == "amd64" {
		line = append(line, "tsc_early_khz="+strconv.Itoa(kilohertz))
	}
	host := p.prefix.Addr().As4()
	return exec.Command(findTool(e.program), slices.Concat(e.options, []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-name", p.Name,
		"-accel", "tcg,thread=multi",
		"-smp", strconv.Itoa(p.CPUs), "-m", strconv.Itoa(p.MemoryMB),
		"-rtc", "base=utc",
		"-kernel", image.kernel, "-initrd", image.initramfs, "-append", strings.Join(line, " "),
		"-chardev", "file,id=console,append=on,path=" + strings.ReplaceAll(p.console, ",", ",,"),
		"-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control,name=control",
		"-netdev", fmt.Sprintf("stream,id=net,addr.type=fd,addr.str=%d", networkFD),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net,romfile=,mac=02:6d:67:00:%02x:%02x", host[2], host[3]),
	})...)
}
