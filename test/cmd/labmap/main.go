// Command labmap does to a host's maps what tests and the demo need and
// bpftool can't: bursts, failing operations, waiting for a key, checksums, and
// UDP packets for the XDP program, and to its clock. It knows nothing of mapgossip.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const usage = `usage: labmap COMMAND ARGUMENTS

  create PIN KEYBYTES VALUEBYTES ENTRIES   make a hash map and pin it
  remove PATH                              remove a pin
  put PIN HEXKEY HEXVALUE                  write a key
  delete PIN HEXKEY                        delete a key
  wait PIN HEXKEY HEXVALUE|absent TIMEOUT  return when the key holds that
  burst PIN FIRST COUNT TAG                write COUNT keys, one syscall each
  contend PIN KEYS ROUNDS TAG              overwrite the same keys, each round another value
  check PIN KEYS ROUNDS TAG...             every value must come from such a contend
  drain PIN FIRST COUNT                    delete them by lookup_and_delete
  sum PIN                                  print the number of elements and a checksum
  await PIN COUNT TIMEOUT                  return when the map has COUNT elements
  fail PIN                                 operations that must fail, on a full map
  freeze PIN                               refuse writes from user space from now on
  send ADDRESS FIRSTPORT PORTS SOURCES     a UDP packet from SOURCES ports to each port
  hash PIN HEXKEY                          print the checksum of one value
  clock DURATION                           set the host's clock ahead by that, or back
  churn PIN WRITER KEYS SHARED RATE        write to own and shared keys until SIGTERM; print what was left where
  dump PIN                                 print all elements
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "labmap:", err)
		os.Exit(1)
	}
}

// arguments are taken from the front; the first fault is kept.
type arguments struct {
	left []string
	err  error
}

func (a *arguments) text() string {
	if len(a.left) == 0 {
		a.err = errors.Join(a.err, errors.New(usage))
		return ""
	}
	s := a.left[0]
	a.left = a.left[1:]
	return s
}

func (a *arguments) number() int {
	n, err := strconv.Atoi(a.text())
	a.err = errors.Join(a.err, err)
	return n
}

func (a *arguments) bytes() []byte {
	b, err := hex.DecodeString(a.text())
	a.err = errors.Join(a.err, err)
	return b
}

func (a *arguments) duration() time.Duration {
	d, err := time.ParseDuration(a.text())
	a.err = errors.Join(a.err, err)
	return d
}

// open opens the map that the next argument names.
func (a *arguments) open() *ebpf.Map {
	path := a.text()
	if a.err != nil {
		return nil
	}
	m, err := ebpf.LoadPinnedMap(path, nil)
	a.err = errors.Join(a.err, err)
	return m
}

func run(args []string, out io.Writer) error {
	a := &arguments{left: args}
	command := a.text()
	if a.err != nil {
		return a.err
	}
	if command == "send" {
		address, first, ports, sources := a.text(), a.number(), a.number(), a.number()
		if a.err != nil {
			return a.err
		}
		return send(address, first, ports, sources)
	}
	if command == "remove" {
		path := a.text()
		return errors.Join(a.err, os.Remove(path))
	}
	if command == "create" {
		pin, keyBytes, valueBytes, entries := a.text(), a.number(), a.number(), a.number()
		if a.err != nil {
			return a.err
		}
		return create(pin, uint32(keyBytes), uint32(valueBytes), uint32(entries))
	}
	if command == "clock" {
		by := a.duration()
		if a.err != nil {
			return a.err
		}
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
	}
	m := a.open()
	if a.err != nil {
		return a.err
	}
	defer m.Close()
	var do func() error
	switch command {
	case "put":
		key, value := a.bytes(), a.bytes()
		do = func() error { return m.Put(key, value) }
	case "delete":
		key := a.bytes()
		do = func() error { return m.Delete(key) }
	case "wait":
		key, want, timeout := a.bytes(), a.text(), a.duration()
		do = func() error { return wait(out, m, key, want, timeout) }
	case "burst":
		first, count, tag := a.number(), a.number(), a.number()
		do = func() error { return burst(out, m, first, count, uint64(tag)) }
	case "contend":
		keys, rounds, tag := a.number(), a.number(), a.number()
		do = func() error { return contend(m, keys, rounds, tag) }
	case "check":
		keys, rounds := a.number(), a.number()
		var tags []int
		for len(a.left) > 0 {
			tags = append(tags, a.number())
		}
		do = func() error { return check(m, keys, rounds, tags) }
	case "drain":
		first, count := a.number(), a.number()
		do = func() error { return drain(m, first, count) }
	case "sum":
		do = func() error { return sum(out, m) }
	case "await":
		count, timeout := a.number(), a.duration()
		do = func() error { return await(m, count, timeout) }
	case "fail":
		do = func() error { return fail(m) }
	case "freeze":
		do = m.Freeze
	case "hash":
		key := a.bytes()
		do = func() error { return hash(out, m, key) }
	case "churn":
		writer, keys, shared, rate := a.number(), a.number(), a.number(), a.number()
		do = func() error { return runChurn(out, os.Stderr, m, writer, keys, shared, rate) }
	case "dump":
		do = func() error { return dump(out, m) }
	default:
		return errors.New(usage)
	}
	if a.err != nil {
		return a.err
	}
	return do()
}

func create(pin string, keyBytes, valueBytes, entries uint32) error {
	name := pin[strings.LastIndex(pin, "/")+1:]
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Hash, KeySize: keyBytes, ValueSize: valueBytes, MaxEntries: entries})
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Pin(pin)
}

// wait polls a key each 200 µs and prints for how long it did.
func wait(out io.Writer, m *ebpf.Map, key []byte, want string, timeout time.Duration) error {
	start := time.Now()
	value := make([]byte, m.ValueSize())
	for {
		err := m.Lookup(key, &value)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		found := "absent"
		if err == nil {
			found = hex.EncodeToString(value)
		}
		if found == want || want == "any" && err == nil {
			_, err := fmt.Fprintln(out, found)
			return err
		}
		if time.Since(start) > timeout {
			return fmt.Errorf("after %v key %x is %s, not %s", timeout, key, found, want)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// element makes the i-th key and its value: the number in the first 8 bytes
// (fewer in a smaller key), and a value that depends on the key and the tag.
func element(m *ebpf.Map, i int, tag uint64) (key, value []byte) {
	number := binary.LittleEndian.AppendUint64(nil, uint64(i))
	key, value = make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	copy(key, number)
	seed := sha256.Sum256(binary.LittleEndian.AppendUint64(number, tag))
	for n := copy(value, seed[:]); n < len(value); {
		n += copy(value[n:], seed[:])
	}
	return key, value
}

func burst(out io.Writer, m *ebpf.Map, first, count int, tag uint64) error {
	keys, values := make([][]byte, count), make([][]byte, count)
	for i := range count {
		keys[i], values[i] = element(m, first+i, tag)
	}
	start := time.Now()
	for i := range count {
		if err := m.Put(keys[i], values[i]); err != nil {
			return fmt.Errorf("write %d of %d: %w", i, count, err)
		}
	}
	_, err := fmt.Fprintf(out, "%d writes in %v\n", count, time.Since(start).Round(time.Microsecond))
	return err
}

// roundTag is the tag of one round of a contend.
func roundTag(tag, round int) uint64 { return uint64(tag)<<32 | uint64(round) }

func contend(m *ebpf.Map, keys, rounds, tag int) error {
	for round := range rounds {
		for i := range keys {
			key, value := element(m, i, roundTag(tag, round))
			if err := m.Put(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func check(m *ebpf.Map, keys, rounds int, tags []int) error {
	found := 0
	var key, value []byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		found++
		number := make([]byte, 8)
		copy(number, key)
		i := int(binary.LittleEndian.Uint64(number))
		written := false
		for _, tag := range tags {
			for round := 0; round < rounds && !written; round++ {
				_, want := element(m, i, roundTag(tag, round))
				written = bytes.Equal(value, want)
			}
		}
		if i >= keys || !written {
			return fmt.Errorf("nobody wrote %x at key %x", value, key)
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if found != keys {
		return fmt.Errorf("%d elements, want %d", found, keys)
	}
	return nil
}

func drain(m *ebpf.Map, first, count int) error {
	value := make([]byte, m.ValueSize())
	for i := range count {
		key, _ := element(m, first+i, 0)
		if err := m.LookupAndDelete(key, &value); err != nil {
			return fmt.Errorf("lookup and delete %d: %w", i, err)
		}
	}
	return nil
}

// sum prints "COUNT SHA256" of the sorted elements.
func sum(out io.Writer, m *ebpf.Map) error {
	var elements [][]byte
	var key, value []byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		elements = append(elements, slices.Concat(key, value))
	}
	if err := it.Err(); err != nil {
		return err
	}
	slices.SortFunc(elements, bytes.Compare)
	h := sha256.New()
	for _, e := range elements {
		h.Write(e)
	}
	_, err := fmt.Fprintf(out, "%d %x\n", len(elements), h.Sum(nil))
	return err
}

func await(m *ebpf.Map, count int, timeout time.Duration) error {
	start := time.Now()
	for {
		n := 0
		var key, value []byte
		it := m.Iterate()
		for it.Next(&key, &value) {
			n++
		}
		// An aborted iteration raced with writers: count again.
		if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
			return err
		}
		if n == count {
			return nil
		}
		if time.Since(start) > timeout {
			return fmt.Errorf("after %v the map has %d elements, not %d", timeout, n, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// fail fills the map, and then makes each kind of operation fail.
func fail(m *ebpf.Map) error {
	for i := range int(m.MaxEntries()) {
		key, value := element(m, i, 1)
		if err := m.Put(key, value); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	present, other := element(m, 0, 2)
	absent, _ := element(m, 1<<20, 2)
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"NOEXIST on a present key", m.Update(present, other, ebpf.UpdateNoExist), unix.EEXIST},
		{"EXIST on an absent key", m.Update(absent, other, ebpf.UpdateExist), unix.ENOENT},
		{"delete of an absent key", m.Delete(absent), unix.ENOENT},
		{"insert into a full map", m.Put(absent, other), unix.E2BIG},
	} {
		if !errors.Is(c.err, c.want) && !(c.want == unix.EEXIST && errors.Is(c.err, ebpf.ErrKeyExist)) && !(c.want == unix.ENOENT && errors.Is(c.err, ebpf.ErrKeyNotExist)) {
			return fmt.Errorf("%s: %v, want %v", c.what, c.err, c.want)
		}
	}
	return nil
}

func hash(out io.Writer, m *ebpf.Map, key []byte) error {
	value := make([]byte, m.ValueSize())
	if err := m.Lookup(key, &value); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%x\n", sha256.Sum256(value))
	return err
}

// send sends one UDP packet from each of sources ports to each of ports.
func send(address string, first, ports, sources int) error {
	for range sources {
		conn, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		for port := first; port < first+ports; port++ {
			to := &net.UDPAddr{IP: net.ParseIP(address), Port: port}
			if _, err := conn.WriteTo([]byte("hello"), to); err != nil {
				return errors.Join(err, conn.Close())
			}
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}
