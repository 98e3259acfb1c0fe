package lab

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

// namespaceCommand is labinit as the first process of namespaces of its own. All that runs in the PID
// namespace dies with it.
func namespaceCommand(p plan, init string) *exec.Cmd {
	cmd := exec.Command(init, append([]string{"namespace"}, p.settings...)...)
	cmd.Dir = "/"
	cmd.Env = []string{} // as in a guest
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Setsid:     true, // Ctrl-C in a terminal is for the test, which then closes the lab
	}
	return cmd
}
