package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Kernels that ask for more, as major<<8 | minor.
const (
	capBPFSince    = 5<<8 | 8  // before it, CAP_SYS_ADMIN is what bpf(2) asks for
	memlockUntil   = 5<<8 | 11 // before it, maps and programs count against RLIMIT_MEMLOCK
	addressesUntil = 5<<8 | 12 // before it, capture looks addresses up in /proc/kallsyms
)

// demands is what an agent goes on to need of the kernel once it runs: a map
// that is replaced is opened anew and captured anew.
type demands struct {
	kernel  int      // major<<8 | minor
	records bool     // capture may be by hooks
	byID    bool     // a target is id: or name:
	closed  []string // files that this user's own rights do not open
	foreign string   // the keyring, if its owner or group is not this user's
}

// demandsOf looks at what o names. Files that are not there are looked for in
// the nearest directory that is.
func demandsOf(o agentOptions) (demands, error) {
	version, err := kernelVersion()
	if err != nil {
		return demands{}, err
	}
	d := demands{kernel: version, records: o.config.Capture != mapwatch.ModeScan}
	var files []string
	for _, m := range o.config.Maps {
		target, err := mapwatch.ParseTarget(m.Target)
		if err != nil {
			return demands{}, err
		}
		if target.Path == "" {
			d.byID = true
		} else {
			files = append(files, target.Path)
		}
	}
	for _, dir := range []string{o.config.StateDir, o.config.CapturePins} {
		if dir != "" {
			files = append(files, dir)
		}
	}
	if o.keyring != "" {
		if strange, err := foreignOwner(o.keyring); err != nil {
			return demands{}, err
		} else if strange {
			d.foreign = o.keyring
		}
		files = append(files, o.keyring, filepath.Dir(o.keyring))
	}
	if o.http.network == "unix" {
		files = append(files, filepath.Dir(o.http.address)) // the socket is removed at the end
	}
	d.closed, err = closedFiles(files)
	return d, err
}

func kernelVersion() (int, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, fmt.Errorf("read the kernel's version: %w", err)
	}
	var major, minor int
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("read the kernel's version %q: %w", release, err)
	}
	return major<<8 | min(minor, 0xff), nil
}

// foreignOwner reports whether a file that replaces this one would have to be
// given to somebody else.
func foreignOwner(path string) (bool, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		return false, fmt.Errorf("read the groups of this process: %w", err)
	}
	gid := int(stat.Gid)
	return int(stat.Uid) != os.Geteuid() || gid != os.Getegid() && !slices.Contains(groups, gid), nil
}

// closedFiles returns those of the paths that this user may not read and write
// without a capability. It asks the kernel, in a thread whose capabilities are
// not in effect meanwhile, so that access lists and security modules count too.
// A kernel that cannot be asked (before 5.8) is taken to say no.
//
// The thread gives up nothing: the runtime ends a process one of whose threads
// has less than the others when all are told to drop capabilities.
func closedFiles(paths []string) (closed []string, err error) {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("read the capabilities of this thread: %w", err)
	}
	without := before
	without[0].Effective, without[1].Effective = 0, 0
	if err := unix.Capset(&header, &without[0]); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("try files without capabilities: %w", err)
	}
	for _, path := range paths {
		at := path
		for access(at, unix.F_OK) == unix.ENOENT && at != filepath.Dir(at) {
			at = filepath.Dir(at)
		}
		mode := uint32(unix.R_OK | unix.W_OK)
		if stat, e := os.Stat(at); e == nil && stat.IsDir() {
			mode |= unix.X_OK
		}
		// A file system that is read-only stays so for every capability.
		if e := access(at, mode); e != 0 && e != unix.EROFS && e != unix.ENOENT {
			closed = append(closed, path)
		}
	}
	if err := unix.Capset(&header, &before[0]); err != nil {
		return nil, fmt.Errorf("take the capabilities of this thread back: %w", err) // nothing else may use it
	}
	runtime.UnlockOSThread()
	return closed, nil
}

// access asks what the capabilities in effect allow. access(2) would ask for all
// that root could have.
func access(path string, mode uint32) unix.Errno {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return unix.EINVAL
	}
	dir := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_FACCESSAT2, uintptr(dir), uintptr(unsafe.Pointer(name)), uintptr(mode), unix.AT_EACCESS, 0, 0)
	return errno
}

// kept chooses the capabilities to keep, of those that the process has.
func (d demands) kept(has func(cap.Value) bool) []cap.Value {
	var kept []cap.Value
	keep := func(wanted bool, v cap.Value) {
		if wanted && has(v) && !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	narrow := d.kernel >= capBPFSince && has(cap.BPF) && (has(cap.PERFMON) || !d.records)
	keep(d.kernel >= capBPFSince, cap.BPF)
	keep(d.kernel >= capBPFSince && d.records, cap.PERFMON)
	keep(d.byID || !narrow, cap.SYS_ADMIN)
	keep(d.kernel < memlockUntil, cap.SYS_RESOURCE)
	keep(d.kernel < addressesUntil && d.records, cap.SYSLOG)
	keep(len(d.closed) > 0, cap.DAC_OVERRIDE)
	keep(len(d.closed) > 0 && !has(cap.DAC_OVERRIDE), cap.DAC_READ_SEARCH)
	keep(d.foreign != "", cap.CHOWN)
	return kept
}

// dropPrivileges gives up, in all threads and for good, every capability that
// the agent does not go on to need, and the way to get any by executing a
// program. What is in its bounding set without CAP_SETPCAP stays there; it is of
// no use to a process that can gain nothing.
//
// It must come after New and after the debug endpoint listens: what they open
// needs more. A Node that New returned asks for what demands says and for
// nothing else.
func dropPrivileges(d demands, log *slog.Logger) error {
	before := cap.GetProc()
	has := func(v cap.Value) bool {
		held, err := before.GetFlag(cap.Permitted, v)
		return err == nil && held // an error: this kernel has no such capability
	}
	kept := d.kept(has)
	if err := unset(kept, has(cap.SETPCAP)); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	names := make([]string, 0, len(kept))
	for _, v := range kept {
		names = append(names, strings.ToUpper(v.String()))
	}
	slices.Sort(names)
	log.Info("capabilities dropped", "kept", strings.Join(names, " "))
	if len(d.closed) > 0 && (has(cap.DAC_OVERRIDE) || has(cap.DAC_READ_SEARCH)) {
		log.Warn("file modes are overridden: give these files to this user, so that CAP_DAC_OVERRIDE can be dropped",
			"files", strings.Join(d.closed, " "), "uid", os.Geteuid())
	}
	return nil
}

// unset leaves the process the kept capabilities and nothing else.
func unset(kept []cap.Value, bounding bool) error {
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	if bounding {
		for v := range cap.MaxBits() {
			if in, err := cap.GetBound(v); err != nil || !in {
				continue
			}
			if err := cap.DropBound(v); err != nil {
				return fmt.Errorf("bounding set, %s: %w", v, err)
			}
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return fmt.Errorf("ambient set: %w", err)
	}
	left := cap.NewSet()
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := left.SetFlag(flag, true, kept...); err != nil {
			return err
		}
	}
	return left.SetProc()
}

// warnOpenBind says that anybody may take part.
func warnOpenBind(log *slog.Logger, c mapgossip.Config) {
	if len(c.Keyring) > 0 || c.Bind.Addr().Unmap().IsLoopback() {
		return
	}
	log.Warn("TRAFFIC IS NOT ENCRYPTED: who reaches this address can read and change the maps of every member; "+
		"make a key with 'mapgossip keygen > FILE', give it to all members with --keyring FILE",
		"bind", c.Bind)
}
