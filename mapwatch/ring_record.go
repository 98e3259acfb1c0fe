package mapwatch

import (
	"encoding/binary"
	"fmt"
)

// recordHeadBytes is the size of struct record in bpf/capture.bpf.c. The key
// follows it, then the value, then, with recordNamed, the process's name, and
// nothing else.
const recordHeadBytes = 40

// commBytes is TASK_COMM_LEN: of Change.Comm and of a record's name.
const commBytes = 16

// Bits of a record's flags: a Source, and whether there is a name.
const (
	recordSource = 3
	recordNamed  = 4
)

// recordKind is enum kind in bpf/capture.bpf.c.
type recordKind uint32

const (
	recordUpdated recordKind = 1 // key and value
	recordDeleted recordKind = 2 // key
	recordTouched recordKind = 3 // key
	recordDrained recordKind = 4 // neither: many keys were deleted at once
	recordEvicted recordKind = 5 // key
)

// record is one record of the ring. key and value alias the bytes it was
// decoded from.
type record struct {
	captured   int64 // ns, CLOCK_BOOTTIME
	pidTgid    uint64
	slot, cpu  uint32
	kind       recordKind
	source     Source
	key, value []byte
	comm       []byte // commBytes, or nil
}

// decodeRecord reads one record as bpf/capture.bpf.c wrote it. Native byte
// order: the ring never leaves this host. It refuses what those programs cannot
// have written, and never reads outside b.
func decodeRecord(b []byte) (record, error) {
	if len(b) < recordHeadBytes {
		return record{}, fmt.Errorf("decode ring record: %d bytes are less than a head of %d", len(b), recordHeadBytes)
	}
	r := record{
		captured: int64(binary.NativeEndian.Uint64(b[0:])),
		pidTgid:  binary.NativeEndian.Uint64(b[8:]),
		slot:     binary.NativeEndian.Uint32(b[16:]),
		cpu:      binary.NativeEndian.Uint32(b[20:]),
		kind:     recordKind(binary.NativeEndian.Uint32(b[32:])),
	}
	keyBytes := uint64(binary.NativeEndian.Uint32(b[24:]))
	valueBytes := uint64(binary.NativeEndian.Uint32(b[28:]))
	flags := binary.NativeEndian.Uint32(b[36:])
	r.source = Source(flags & recordSource)

	body := b[recordHeadBytes:]
	if flags&recordNamed != 0 && len(body) >= commBytes {
		at := len(body) - commBytes
		body, r.comm = body[:at], body[at:]
	}
	if keyBytes+valueBytes != uint64(len(body)) {
		return record{}, fmt.Errorf("decode ring record: key of %d and value of %d bytes in a body of %d", keyBytes, valueBytes, len(body))
	}
	if flags&^(recordSource|recordNamed) != 0 || flags&recordNamed != 0 && r.comm == nil {
		return record{}, fmt.Errorf("decode ring record: flags are %#x", flags)
	}
	var wellFormed bool
	switch r.kind {
	case recordUpdated:
		wellFormed = keyBytes > 0 && valueBytes > 0
	case recordDeleted, recordTouched, recordEvicted:
		wellFormed = keyBytes > 0 && valueBytes == 0
	case recordDrained:
		wellFormed = keyBytes == 0 && valueBytes == 0
	}
	if !wellFormed {
		return record{}, fmt.Errorf("decode ring record: kind %d with a key of %d and a value of %d bytes", r.kind, keyBytes, valueBytes)
	}
	r.key, r.value = body[:keyBytes:keyBytes], body[keyBytes:]
	return r, nil
}
