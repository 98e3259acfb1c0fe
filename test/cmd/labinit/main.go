package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/lab/control"
)

const (
	controlFD = 3
	networkFD = 4
	searchIn  = "/lab:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve":
		err = control.Serve(descriptor(controlFD, "control"))
	case len(os.Args) > 1 && os.Args[1] == "namespace":
		err = runNamespace(parseSettings(os.Args[2:]))
	case os.Getpid() == 1:
		err = runGuest()
		// A guest has nowhere to return to. The error is on the console by then.
		if err != nil {
			fmt.Fprintln(os.Stderr, "labinit:", err)
		}
		unix.Sync()
		err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	default:
		err = errors.New("this is the first process of a lab host, started by package test/lab")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labinit:", err)
		os.Exit(1)
	}
}

// runGuest returns when the control channel has ended.
func runGuest() error {
	if err := mountGuest(); err != nil {
		return err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	set := parseSettings(strings.Fields(string(line)))
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(set.name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := setNetwork(set.addr); err != nil {
		return err
	}
	if err := setHosts(set.hosts); err != nil {
		return err
	}
	port, err := openPort("control")
	if err != nil {
		return err
	}
	return serve(port)
}

func runNamespace(set settings) error {
	channel, network := os.NewFile(controlFD, "control"), descriptor(networkFD, "network")
	tap, err := openTAP()
	if err != nil {
		return err
	}
	if err := setRoot(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(set.name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := setNetwork(set.addr); err != nil {
		return err
	}
	if err := setHosts(set.hosts); err != nil {
		return err
	}
	go copyToNetwork(network, tap)
	go copyFromNetwork(tap, network)
	return serve(channel)
}

// descriptor makes a file of an inherited descriptor whose reads do not block a thread;
// the mode is the open file's, and whoever handed it down may have reset it.
func descriptor(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true) // if it fails, reads block a thread, and that is all
	return os.NewFile(uintptr(fd), name)
}

// settings of one host.
type settings struct {
	name, addr string
	hosts      []string
}

func parseSettings(words []string) (s settings) {
	for _, w := range words {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "lab.name":
			s.name = value
		case "lab.addr":
			s.addr = value
		case "lab.hosts":
			s.hosts = strings.Split(value, ",")
		}
	}
	return s
}

// serve runs the server as a child and reaps every other process until the server has
// ended. All those still alive die with this process, in a guest as in a PID namespace.
func serve(channel *os.File) error {
	runtime.LockOSThread() // the parent of the server is this thread
	if err := os.Setenv("PATH", searchIn); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// By its path it may be out of sight: it is the machine's, below /tmp maybe.
	cmd := exec.Command("/proc/self/exe", "serve")
	cmd.Env = []string{"PATH=" + searchIn, "HOME=/tmp", "TERM=linux", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{channel} // descriptor 3
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	_ = channel.Close()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for processes: %w", err)
		case pid == cmd.Process.Pid && status.ExitStatus() == 0:
			return nil
		case pid == cmd.Process.Pid:
			return fmt.Errorf("the server ended: %v", status)
		}
	}
}
