package gossip

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// fieldReader reads the elements of a body. The first fault sticks in err.
// Nothing is allocated by a declared length: what is longer than the rest of
// the input is a fault.
type fieldReader struct {
	data  []byte
	src   *bytes.Reader
	dec   *msgpack.Decoder
	left  int
	marks int // of reports, so far
	err   error
}

func newFieldReader(data []byte) *fieldReader {
	r := &fieldReader{data: data, src: bytes.NewReader(data), left: 1}
	r.dec = msgpack.NewDecoder(r.src)
	return r
}

func (r *fieldReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
	}
}

// step accounts for one element; false after a fault.
func (r *fieldReader) step() bool {
	if r.err == nil && r.left <= 0 {
		r.fail("too few fields")
	}
	r.left--
	return r.err == nil
}

// array returns the announced number of elements, 0 to limit. Each takes at
// least a byte of input. The elements are not counted by end.
func (r *fieldReader) array(limit int) int {
	if !r.step() {
		return 0
	}
	n, err := r.dec.DecodeArrayLen()
	if err != nil || n < 0 || n > limit || n > r.src.Len() {
		r.fail("array of %d elements", n)
		return 0
	}
	return n
}

// list reads an array and calls each for every element of it.
func (r *fieldReader) list(limit int, each func()) {
	n := r.array(limit)
	outer := r.left
	for range n {
		if r.err != nil {
			return
		}
		r.left = 1
		each()
	}
	r.left = outer
}

// record reads an array of exactly n fields by fn.
func (r *fieldReader) record(n int, fn func()) {
	if got := r.array(n); got != n {
		r.fail("record of %d fields, want %d", got, n)
		return
	}
	outer := r.left
	r.left = n
	fn()
	r.left = outer
}

// blob returns a part of the input of at most limit bytes.
func (r *fieldReader) blob(limit int) []byte {
	if !r.step() {
		return nil
	}
	n, err := r.dec.DecodeBytesLen()
	if err != nil || n < 0 || n > limit || n > r.src.Len() {
		r.fail("string of %d bytes", n)
		return nil
	}
	at := len(r.data) - r.src.Len()
	if _, err := r.src.Seek(int64(n), 1); err != nil {
		r.fail("string: %v", err)
		return nil
	}
	return r.data[at : at+n : at+n]
}

func (r *fieldReader) text(limit int) string { return string(r.blob(limit)) }

func (r *fieldReader) uint() uint64 {
	if !r.step() {
		return 0
	}
	n, err := r.dec.DecodeUint64()
	if err != nil {
		r.fail("number: %v", err)
	}
	return n
}

func (r *fieldReader) int() int64 {
	if !r.step() {
		return 0
	}
	n, err := r.dec.DecodeInt64()
	if err != nil {
		r.fail("number: %v", err)
	}
	return n
}

// number returns a non-negative number up to limit.
func (r *fieldReader) number(limit int) int {
	n := r.uint()
	if n > uint64(limit) {
		r.fail("number %d is over %d", n, limit)
		return 0
	}
	return int(n)
}

func (r *fieldReader) flag() bool {
	if !r.step() {
		return false
	}
	set, err := r.dec.DecodeBool()
	if err != nil {
		r.fail("flag: %v", err)
	}
	return set
}

// end returns the first fault, or one if something is left over.
func (r *fieldReader) end() error {
	if r.err == nil && (r.left != 0 || r.src.Len() != 0) {
		r.fail("%d fields and %d bytes too many", r.left, r.src.Len())
	}
	return r.err
}
