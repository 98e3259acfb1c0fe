package state

import "encoding/binary"

// Reseal changes the payload of the first frame of a file and makes its checksum
// right again.
func Reseal(b []byte, change func(payload []byte)) []byte {
	w := writer{bytes: append([]byte(nil), b...)}
	rest := w.bytes[frameHead+int(binary.LittleEndian.Uint32(b)):]
	w.bytes = w.bytes[:len(b)-len(rest)]
	change(w.bytes[frameHead:])
	w.seal(0)
	return append(w.bytes, rest...)
}

// Payloads returns the payloads of a file, each with its length in two bytes
// before it, and Frames makes a file of that.
func Payloads(b []byte) (payloads []byte) {
	for {
		payload, rest, ok := cutFrame(b)
		if !ok {
			return payloads
		}
		payloads = binary.LittleEndian.AppendUint16(payloads, uint16(len(payload)))
		payloads = append(payloads, payload...)
		b = rest
	}
}

// Frames is the inverse of Payloads.
func Frames(payloads []byte) []byte {
	var w writer
	for len(payloads) > 2 {
		n := min(int(binary.LittleEndian.Uint16(payloads)), len(payloads)-2)
		if payloads = payloads[2:]; n == 0 {
			continue
		}
		start := w.open(payloads[0])
		w.bytes = append(w.bytes, payloads[1:n]...)
		w.seal(start)
		payloads = payloads[n:]
	}
	return w.bytes
}

// FirstFrame returns the bytes of the first frame of b, all of b if it is bad.
func FirstFrame(b []byte) []byte {
	_, rest, ok := cutFrame(b)
	if !ok {
		return b
	}
	return b[:len(b)-len(rest)]
}
