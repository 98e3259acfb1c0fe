//go:build linux

package ways

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// programPatience bounds the wait for a program to run; emulation is slow.
const programPatience = 20 * time.Second

// program is one of bpf/ways.bpf.c, loaded for one map.
type program struct {
	*ebpf.Program
	collection *ebpf.Collection
}

// loadProgram loads the program that changes m at the key, to the number. What
// the verifier says is in the error. A tracing program answers the naming of the
// calling thread, to which the goroutine must be locked.
func loadProgram(name string, m *ebpf.Map, key uint64, number int) (*program, error) {
	spec, err := loadWays()
	if err != nil {
		return nil, err
	}
	for _, set := range []struct {
		name  string
		value any
	}{{waysVarKey, key}, {waysVarNumber, uint64(number)}, {waysVarThread, uint32(unix.Gettid())}} {
		if err := spec.Variables[set.name].Set(set.value); err != nil {
			return nil, fmt.Errorf("set %s: %w", set.name, err)
		}
	}
	// No more than this program needs: a kernel may not have the rest.
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	needed := map[string]bool{waysMapTarget: true}
	for _, instruction := range spec.Programs[name].Instructions {
		needed[instruction.Reference()] = true
	}
	for unneeded := range spec.Maps {
		if !needed[unneeded] {
			delete(spec.Maps, unneeded)
		}
	}
	target := spec.Maps[waysMapTarget]
	target.Type, target.KeySize, target.ValueSize = m.Type(), m.KeySize(), m.ValueSize()
	target.MaxEntries, target.Flags = m.MaxEntries(), m.Flags()
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{waysMapTarget: m},
	})
	if err != nil {
		return nil, err
	}
	return &program{collection.Programs[name], collection}, nil
}

func (p *program) close() { p.collection.Close() }

// act arms the program, calls prompt again and again until it has run, and
// returns the errno of its helper.
func (p *program) act(prompt func() error) error {
	variables := p.collection.Variables
	if err := variables[waysVarArmed].Set(uint32(1)); err != nil {
		return err
	}
	for begin := time.Now(); ; {
		if err := prompt(); err != nil {
			return err
		}
		var done uint32
		if err := variables[waysVarDone].Get(&done); err != nil {
			return err
		}
		if done != 0 {
			break
		}
		if time.Since(begin) > programPatience {
			return errors.New("the program did not run")
		}
		time.Sleep(time.Millisecond)
	}
	var result int64
	if err := variables[waysVarResult].Get(&result); err != nil {
		return err
	}
	if result < 0 {
		return unix.Errno(-result)
	}
	return nil
}

// run runs it in task context.
func (p *program) run() error {
	ran := false
	return p.act(func() error {
		if ran { // it waits for a timer
			return nil
		}
		ran = true
		_, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
		return err
	})
}

// onPacket runs it in softirq, for a packet on the loopback.
func (p *program) onPacket() (err error) {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	attached, err := link.AttachXDP(link.XDPOptions{Program: p.Program, Interface: loopback.Index, Flags: link.XDPGenericMode})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attached.Close()) }()
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		return err
	}
	defer conn.Close()
	return p.act(func() error {
		_, err := conn.Write([]byte("hello"))
		if errors.Is(err, unix.ECONNREFUSED) { // nobody listens, and nobody has to
			return nil
		}
		return err
	})
}

// onTrace runs it where this thread is named.
func (p *program) onTrace() (err error) {
	attached, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "task_rename", Program: p.Program})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attached.Close()) }()
	return p.act(func() error {
		return os.WriteFile("/proc/thread-self/comm", []byte("ways"), 0)
	})
}
