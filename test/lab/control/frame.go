package control

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

type kind byte

const (
	kindRequest kind = 'q' // request, JSON; the first frame of each stream
	kindReply   kind = 'r' // reply, JSON
	kindData    kind = 'd' // bytes of a file, or of standard input
	kindEnd     kind = 'e' // no more kindData; no payload
	kindStdout  kind = '1'
	kindStderr  kind = '2'
	kindExit    kind = 'x' // Exit, JSON; the last frame of a command
)

const (
	headerBytes  = 5
	maxFrame     = 1 << 20
	chunkBytes   = 128 << 10 // of file and output data put into one frame
	errNotExist  = "not-exist"
	errNotRights = "permission"
)

type request struct {
	Op      string   // hello, exec, signal, read, write, dial
	Argv    []string `json:",omitempty"` // exec
	Env     []string `json:",omitempty"` // exec: added to the host's
	Dir     string   `json:",omitempty"` // exec
	Stdin   bool     `json:",omitempty"` // exec: kindData frames follow
	PID     int      `json:",omitempty"` // signal
	Signal  int      `json:",omitempty"` // signal
	Group   bool     `json:",omitempty"` // signal: the whole process group
	Path    string   `json:",omitempty"` // read, write
	Mode    uint32   `json:",omitempty"` // write
	Network string   `json:",omitempty"` // dial
	Address string   `json:",omitempty"` // dial
}

type reply struct {
	Error string `json:",omitempty"` // empty: done
	Cause string `json:",omitempty"` // errNotExist, errNotRights or empty
	PID   int    `json:",omitempty"` // exec
	Hello Hello  // hello
}

// Hello is what a host says of itself.
type Hello struct {
	Name    string // host name
	Kernel  string // release, as uname -r prints it
	Machine string // architecture, as uname -m prints it
}

// Exit is how a command ended.
type Exit struct {
	Code   int            // exit status; -1 when a signal ended it
	Signal syscall.Signal // 0 when none did
}

// frameWriter writes whole frames of one kind to a stream that it shares with
// other frameWriters.
type frameWriter struct {
	mu *sync.Mutex
	w  io.Writer
	k  kind
}

func (f frameWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := 0
	for done < len(p) {
		part := p[done:min(done+chunkBytes, len(p))]
		if err := writeFrame(f.w, f.k, part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

func writeFrame(w io.Writer, k kind, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("write frame of %d bytes: more than %d", len(payload), maxFrame)
	}
	b := make([]byte, headerBytes, headerBytes+len(payload))
	b[0] = byte(k)
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// readFrame reads one frame. The payload is valid until the next call with the
// same buffer, which grows as needed.
func readFrame(r io.Reader, buffer *[]byte) (kind, []byte, error) {
	var h [headerBytes]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("read frame: it claims %d bytes, more than %d", n, maxFrame)
	}
	if uint32(cap(*buffer)) < n {
		*buffer = make([]byte, n)
	}
	p := (*buffer)[:n]
	if _, err := io.ReadFull(r, p); err != nil {
		return 0, nil, fmt.Errorf("read frame of %d bytes: %w", n, err)
	}
	return kind(h[0]), p, nil
}

func writeJSON(w io.Writer, k kind, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, k, p)
}

// readJSON reads one frame, which must be of kind k, into v.
func readJSON(r io.Reader, k kind, v any) error {
	var buffer []byte
	got, p, err := readFrame(r, &buffer)
	if err != nil {
		return err
	}
	if got != k {
		return fmt.Errorf("read frame: kind %q where %q was due", got, k)
	}
	return json.Unmarshal(p, v)
}

// failure puts an error into a reply, so that the other side can make an error of it again
// that errors.Is recognises as fs.ErrNotExist or fs.ErrPermission.
func failure(err error) reply {
	r := reply{Error: err.Error()}
	switch {
	case os.IsNotExist(err) || isNotFound(err):
		r.Cause = errNotExist
	case os.IsPermission(err):
		r.Cause = errNotRights
	}
	return r
}

func (r reply) err() error {
	if r.Error == "" {
		return nil
	}
	e := &remoteError{text: r.Error}
	switch r.Cause {
	case errNotExist:
		e.cause = fs.ErrNotExist
	case errNotRights:
		e.cause = fs.ErrPermission
	}
	return e
}

// remoteError is an error of the host, said in its words.
type remoteError struct {
	text  string
	cause error // nil, fs.ErrNotExist or fs.ErrPermission
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }
