package mapgossip

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"
)

const chaosStranger = "10.9.9.9:7946"

// Bytes of memberlist's own protocol, which a stranger who knows the cluster's
// name can send.
const (
	listLabel  = 244 // what follows is the length of the label, and the label
	listUser   = 8   // a user message follows
	frameStart = 0xB6
)

// stranger returns the transport of one who is no member.
func (c *chaosRun) stranger() *memberlistGuest {
	if c.guest == nil {
		guest, err := c.net.Listen(chaosStranger)
		if err != nil {
			panic(err)
		}
		c.guest = guest
	}
	return &memberlistGuest{c}
}

type memberlistGuest struct{ c *chaosRun }

func (g *memberlistGuest) packet(to string, b []byte) {
	_, _ = g.c.guest.WriteToAddress(b, memberlist.Address{Addr: to})
}

// stream dials and writes, and hangs up after a while, which may be never as far as
// the other can tell.
func (g *memberlistGuest) stream(to string, b []byte) {
	transport := g.c.guest
	go func() {
		conn, err := transport.DialTimeout(to, time.Second)
		if err != nil {
			return
		}
		_, _ = conn.Write(b)
		time.Sleep(15 * time.Second)
		_ = conn.Close()
	}()
}

func labelled(b []byte) []byte {
	head := append([]byte{listLabel, byte(len(DefaultCluster))}, DefaultCluster...)
	return append(head, b...)
}

// poison sends garbage: bytes of chance, with the right label and without, and
// messages of memberlist whose bodies are of chance.
func (c *chaosRun) poison(h *chaosHost, count, seed int) {
	dice := rand.New(rand.NewPCG(uint64(seed), 6))
	guest := c.stranger()
	for range count {
		b := make([]byte, 1+dice.IntN(1200))
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		switch dice.IntN(4) {
		case 0:
			guest.packet(h.addr, b)
		case 1:
			b[0] = byte(dice.IntN(16)) // a kind of message that there is
			guest.packet(h.addr, labelled(b))
		case 2:
			guest.stream(h.addr, b)
		case 3:
			b[0] = byte(dice.IntN(16))
			guest.stream(h.addr, labelled(b))
		}
	}
}

// alien sends frames in a member's name as another version of the program
// would: kinds and versions that are not known here, and known kinds whose bodies
// are broken under a good checksum. They are to be skipped and counted.
func (c *chaosRun) alien(h, as *chaosHost, count, seed int) {
	if as.agent == nil {
		return
	}
	dice := rand.New(rand.NewPCG(uint64(seed), 7))
	guest := c.stranger()
	name := as.agent.name
	for range count {
		version, kind := byte(1), byte(13+dice.IntN(200))
		switch dice.IntN(3) {
		case 0:
			version = byte(2 + dice.IntN(200))
		case 1:
			kind = byte(1 + dice.IntN(6)) // beyond are goodbye, which has no body to break, and those of sessions
		}
		body := append([]byte{0x90 + byte(1+dice.IntN(5)), 0xa0 + byte(len(name))}, name...)
		if len(name) > 31 {
			body = append([]byte{0x90 + byte(1+dice.IntN(5)), 0xd9, byte(len(name))}, name...)
		}
		for range dice.IntN(200) {
			body = append(body, byte(dice.Uint32()))
		}
		guest.packet(h.addr, labelled(append([]byte{listUser}, sealed(version, kind, body)...)))
	}
}

// sealed is a frame of package gossip.
func sealed(version, kind byte, body []byte) []byte {
	b := []byte{frameStart, version, kind, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[3:], uint32(len(body)))
	table := crc32.MakeTable(crc32.Castagnoli)
	b = binary.BigEndian.AppendUint32(b, crc32.Update(crc32.Checksum(b, table), table, body))
	return append(b, body...)
}
