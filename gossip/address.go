package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	sockaddr "github.com/hashicorp/go-sockaddr"
)

// FinalAdvertiseAddr is ip and port where given, else the bound address, else
// (bound to all) a private address of this host, else any that others may reach.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	if port == 0 {
		port = t.port()
	}
	if ip != "" {
		return t.base.FinalAdvertiseAddr(ip, port)
	}
	bound, _, err := t.base.FinalAdvertiseAddr("", 0)
	if err == nil && !bound.IsUnspecified() {
		return bound, port, nil
	}
	if text, err := sockaddr.GetPrivateIP(); err == nil && text != "" {
		return net.ParseIP(text), port, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, 0, fmt.Errorf("find an address to advertise: %w", err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			return net.IP(prefix.Addr().Unmap().AsSlice()), port, nil
		}
	}
	return nil, 0, errors.New("find an address to advertise: this host has none but loopback; give the one that other members shall dial")
}

// hostAddrs returns the addresses at which this host reaches its own port.
func hostAddrs(bind netip.Addr, port uint16) map[netip.AddrPort]bool {
	own := map[netip.AddrPort]bool{netip.AddrPortFrom(bind.Unmap(), port): true}
	if !bind.IsUnspecified() {
		return own
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own[netip.AddrPortFrom(prefix.Addr().Unmap(), port)] = true
		}
	}
	return own
}
