package mapwatch

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// appendRecord writes a record as bpf/capture.bpf.c does.
func appendRecord(b []byte, r record) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(r.captured))
	b = binary.NativeEndian.AppendUint64(b, r.pidTgid)
	b = binary.NativeEndian.AppendUint32(b, r.slot)
	b = binary.NativeEndian.AppendUint32(b, r.cpu)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(r.key)))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(r.value)))
	b = binary.NativeEndian.AppendUint32(b, uint32(r.kind))
	flags := uint32(r.source)
	if r.comm != nil {
		flags |= recordNamed
	}
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = append(b, r.key...)
	b = append(b, r.value...)
	return append(b, r.comm...)
}

func recordsOfEachKind() []record {
	return []record{
		{captured: 1 << 40, pidTgid: 7<<32 | 8, slot: 3, cpu: 2, kind: recordUpdated, key: []byte("k"), value: []byte("value")},
		{captured: 1, kind: recordDeleted, key: []byte("key")},
		{captured: 2, kind: recordTouched, key: []byte("key")},
		{captured: 3, slot: 1, kind: recordDrained},
		{captured: 4, kind: recordUpdated, source: SourceSyscall, key: []byte("k"), value: []byte("value"), comm: []byte("writer 3456789\x00\x00")},
		{captured: 5, kind: recordDeleted, source: SourceInterrupt, key: []byte("k"), comm: make([]byte, commBytes)},
		{captured: 6, kind: recordDrained, source: SourceProgram, comm: make([]byte, commBytes)},
	}
}

func TestDecodeRecord(t *testing.T) {
	for _, want := range recordsOfEachKind() {
		got, err := decodeRecord(appendRecord(nil, want))
		if err != nil {
			t.Fatal(err)
		}
		if got.captured != want.captured || got.pidTgid != want.pidTgid || got.slot != want.slot || got.cpu != want.cpu ||
			got.kind != want.kind || got.source != want.source || !bytes.Equal(got.comm, want.comm) || !bytes.Equal(got.key, want.key) || !bytes.Equal(got.value, want.value) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	whole := appendRecord(nil, recordsOfEachKind()[0])
	for n := range whole {
		if _, err := decodeRecord(whole[:n]); err == nil {
			t.Errorf("decoded the first %d of %d bytes", n, len(whole))
		}
	}
	if _, err := decodeRecord(append(whole, 0)); err == nil {
		t.Error("decoded a byte too many")
	}
	for _, flags := range []uint32{8, 1 << 31, recordNamed} {
		flagged := bytes.Clone(whole)
		binary.NativeEndian.PutUint32(flagged[36:], flags)
		if _, err := decodeRecord(flagged); err == nil {
			t.Errorf("decoded flags of %#x, with no name behind", flags)
		}
	}
	// Sizes whose sum wraps in 32 bits.
	wrap := bytes.Clone(whole)
	binary.NativeEndian.PutUint32(wrap[24:], 0xffffffff)
	binary.NativeEndian.PutUint32(wrap[28:], uint32(len(whole)-recordHeadBytes+1))
	if _, err := decodeRecord(wrap); err == nil {
		t.Error("decoded sizes that wrap")
	}
	for _, r := range []record{
		{kind: 0, key: []byte("k")},
		{kind: 6, key: []byte("k")},
		{kind: recordUpdated, key: []byte("k")},
		{kind: recordUpdated, value: []byte("v")},
		{kind: recordDeleted, key: []byte("k"), value: []byte("v")},
		{kind: recordTouched},
		{kind: recordEvicted},
		{kind: recordEvicted, key: []byte("k"), value: []byte("v")},
		{kind: recordDrained, key: []byte("k")},
	} {
		if _, err := decodeRecord(appendRecord(nil, r)); err == nil {
			t.Errorf("decoded %+v", r)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range recordsOfEachKind() {
		f.Add(appendRecord(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if again := appendRecord(nil, r); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes as %x", b, again)
		}
	})
}
