package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/lab/ether"
)

const device = "eth0"

// setHosts makes the names of all hosts known: words are NAME=ADDRESS. Where /etc is the
// machine's, a file of this host's own is put in its place.
func setHosts(words []string) error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, w := range words {
		name, addr, _ := strings.Cut(w, "=")
		fmt.Fprintf(&b, "%s %s\n", addr, name)
	}
	const file, own = "/etc/hosts", "/run/hosts"
	if err := os.WriteFile(own, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("name the hosts: %w", err)
	}
	if err := unix.Mount(own, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name the hosts in %s: %w", file, err)
	}
	return nil
}

// setNetwork brings up the loopback and the one Ethernet device with its address; the
// last byte of the address is the last of the hardware address.
func setNetwork(addr string) error {
	prefix, err := netip.ParsePrefix(addr)
	if err != nil {
		return fmt.Errorf("set network: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	eth, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}}
	if err := netlink.AddrAdd(eth, a); err != nil {
		return fmt.Errorf("give %s the address %s: %w", device, addr, err)
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("bring up %s: %w", device, err)
	}
	return nil
}

// openTAP makes the Ethernet device of this network namespace; its frames are read from and
// written to the file.
func openTAP() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w; load the module tun", err)
	}
	q, err := unix.NewIfreq(device)
	if err == nil {
		q.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, q)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TAP device %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil // polled only once it is a device
}

// copyToNetwork sends the frames of the device. It ends with either.
func copyToNetwork(network io.Writer, tap io.Reader) {
	b := make([]byte, ether.LengthBytes+ether.MaxFrameBytes)
	for {
		n, err := tap.Read(b[ether.LengthBytes:])
		if err != nil {
			return
		}
		if err := ether.WriteFrame(network, b[:ether.LengthBytes+n]); err != nil {
			return
		}
	}
}

// copyFromNetwork gives frames to the device. One that the device refuses (it is down, or its
// queue is full) is lost, as on a wire.
func copyFromNetwork(tap io.Writer, network io.Reader) {
	r := bufio.NewReaderSize(network, 256<<10)
	b := make([]byte, ether.MaxFrameBytes)
	for {
		n, err := ether.ReadFrame(r, b)
		if err != nil {
			return
		}
		if _, err := tap.Write(b[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}
