package control

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"time"

	"github.com/hashicorp/yamux"
)

// configuration is the same on both sides. The timeouts are generous because a
// guest under emulation on a loaded machine may take seconds to read.
func configuration() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 5 * time.Minute
	c.StreamOpenTimeout = 0 // the caller's context bounds it
	c.StreamCloseTimeout = time.Minute
	c.MaxStreamWindowSize = 4 << 20
	c.LogOutput = io.Discard // what goes wrong comes back as an error
	return c
}

// buffered gives yamux, which reads by headers of 12 bytes through a small
// buffer, large reads of the device below.
type buffered struct {
	io.ReadWriteCloser
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func newBuffered(c io.ReadWriteCloser) buffered {
	return buffered{c, bufio.NewReaderSize(c, 256<<10)}
}

func isNotFound(err error) bool { return errors.Is(err, exec.ErrNotFound) }
