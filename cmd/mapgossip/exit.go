package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Exit codes. They are a contract: scripts and unit files branch on them.
const (
	exitOK     = 0 // stopped as asked, or answered
	exitFailed = 1 // failed while running
	exitUsage  = 2 // usage or configuration: trying again without a change is in vain
	exitKernel = 3 // this kernel or these privileges can't do it
)

// errUsage marks faults of the command line, the environment and the files
// that they name. It never shows in a message.
var errUsage = errors.New("usage")

// usage marks err as a fault of usage or configuration; nil stays nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error        { return e.error }

// exitCode maps an error to the exit code of the process. Where several faults
// are joined, one that the configuration can mend decides.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for _, sentinel := range []error{
		errUsage, mapgossip.ErrConfig, gossip.ErrAddressInUse, gossip.ErrDuplicateNode,
		mapwatch.ErrNotFound, mapwatch.ErrNotMap, mapwatch.ErrType, mapwatch.ErrTarget, mapwatch.ErrInUse,
		syscall.EADDRINUSE, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, sentinel) {
			return exitUsage
		}
	}
	for _, sentinel := range []error{mapwatch.ErrPermission, mapwatch.ErrUnsupported, syscall.EACCES} {
		if errors.Is(err, sentinel) {
			return exitKernel
		}
	}
	return exitFailed
}

// report prints err as people read it, one line a fault, and returns the exit
// code that goes with it.
func report(stderr io.Writer, err error) int {
	if err != nil {
		text := strings.TrimPrefix(err.Error(), mapgossip.ErrConfig.Error()+": ")
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "mapgossip: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return exitCode(err)
}
