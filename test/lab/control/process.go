package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// aLongTimeAgo is a deadline that ends what waits.
var aLongTimeAgo = time.Unix(1, 0)

// Command is what to run on a host.
type Command struct {
	Argv           []string // the first is looked up in the host's PATH
	Env            []string // KEY=value, added to the host's; the last of a key wins
	Dir            string   // empty: the host's root
	Stdin          io.Reader
	Stdout, Stderr io.Writer // nil: discarded; the same writer for both is written by one goroutine
}

// Process is a command that runs on a host.
type Process struct {
	PID    int // on the host, in its PID namespace
	stream *yamux.Stream
	cmd    Command
}

// Start returns when the host has started the command, or fs.ErrNotExist when it has no such
// program. When ctx ends the command's whole process group is killed. Wait must be called.
func (c *Client) Start(ctx context.Context, cmd Command) (*Process, error) {
	stream, release, err := c.open(ctx, request{Op: "exec", Argv: cmd.Argv, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin != nil})
	if err != nil {
		return nil, err
	}
	var r reply
	err = readJSON(stream, kindReply, &r)
	if !release() || err != nil {
		abort(stream)
		return nil, orContext(ctx, err)
	}
	if err := r.err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return &Process{PID: r.PID, stream: stream, cmd: cmd}, nil
}

// Wait copies output until the command has ended. When ctx ends, the stream is closed, upon which the host kills the
// command's process group, and ctx's cause is returned. Call it once.
//
// The reader given as Stdin is read by a goroutine that ends with that reader: Wait does not wait for it.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	defer p.stream.Close()
	release := context.AfterFunc(ctx, func() { abort(p.stream) })
	defer release()
	if p.cmd.Stdin != nil {
		go p.feed()
	}
	var buffer []byte
	for {
		k, payload, err := readFrame(p.stream, &buffer)
		if err != nil {
			return Exit{Code: -1}, orContext(ctx, fmt.Errorf("control channel: %w", err))
		}
		switch k {
		case kindStdout:
			write(p.cmd.Stdout, payload)
		case kindStderr:
			write(p.cmd.Stderr, payload)
		case kindExit:
			var e Exit
			err := json.Unmarshal(payload, &e)
			return e, err
		}
	}
}

func (p *Process) feed() {
	var mu sync.Mutex
	_, _ = io.CopyBuffer(frameWriter{&mu, p.stream, kindData}, struct{ io.Reader }{p.cmd.Stdin}, make([]byte, chunkBytes))
	_ = writeFrame(p.stream, kindEnd, nil)
}

// write ignores errors: as with a closed pipe, what the reader does not want is lost, and the
// command goes on.
func write(w io.Writer, p []byte) {
	if w != nil {
		_, _ = w.Write(p)
	}
}
