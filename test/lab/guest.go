package lab

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

const qemu = "qemu-system-x86_64"

// guestCommand is QEMU with one disk-less machine: kernel, initramfs, serial console,
// control port and network card. kilohertz is its time stamp counter's frequency,
// 0 if unknown.
func guestCommand(p plan, image guestImage, kilohertz int) *exec.Cmd {
	line := append([]string{
		"console=ttyS0", "quiet", "loglevel=4",
		"panic=-1", "oops=panic", // a kernel that is broken ends QEMU at once (with -no-reboot)
		"mitigations=off", // emulated, they cost much and protect nothing
		"tsc=reliable", "no_timer_check",
		"random.trust_cpu=on", // getrandom(2) does not wait for entropy
		"8250.nr_uarts=1",
	}, p.settings...)
	if kilohertz > 0 {
		line = append(line, "tsc_early_khz="+strconv.Itoa(kilohertz))
	}
	host := p.prefix.Addr().As4()
	return exec.Command(findTool(qemu),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-name", p.Name,
		"-accel", "tcg,thread=multi",
		"-cpu", "max,-cx16", // see HAZARD in doc.go
		"-smp", strconv.Itoa(p.CPUs), "-m", strconv.Itoa(p.MemoryMB),
		"-rtc", "base=utc",
		"-kernel", image.kernel, "-initrd", image.initramfs, "-append", strings.Join(line, " "),
		"-chardev", "file,id=console,append=on,path="+strings.ReplaceAll(p.console, ",", ",,"),
		"-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control,name=control",
		"-netdev", fmt.Sprintf("stream,id=net,addr.type=fd,addr.str=%d", networkFD),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net,romfile=,mac=02:6d:67:00:%02x:%02x", host[2], host[3]),
	)
}
