package ether

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	// MaxFrameBytes is above any MTU and any offload.
	MaxFrameBytes = 128 << 10
	// LengthBytes is what precedes each frame.
	LengthBytes = 4
	// minFrameBytes is two addresses and a type; what is shorter is dropped.
	minFrameBytes = 14
)

// errOutOfStep: a length that no frame has, so what follows is not frames.
var errOutOfStep = errors.New("frame stream is out of step")

// ReadFrame reads one frame into b, which has room for MaxFrameBytes, and returns its length.
func ReadFrame(r io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(r, b[:LengthBytes]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(b)
	if n > MaxFrameBytes {
		return 0, errOutOfStep
	}
	return io.ReadFull(r, b[:n])
}

// WriteFrame writes one frame; b is LengthBytes to be overwritten, then the frame.
func WriteFrame(w io.Writer, b []byte) error {
	binary.BigEndian.PutUint32(b, uint32(len(b)-LengthBytes))
	_, err := w.Write(b)
	return err
}
