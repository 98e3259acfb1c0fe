package crdt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed: bytes or fields that no working member sends.
var ErrMalformed = errors.New("malformed")

// Bits of the flags byte of an encoded entry. Unset bits are refused, so that
// they can be given a meaning without being misread by an older member.
const flagDeleted = 1

// AppendBinary appends the canonical encoding of e to b:
//
//	12 bytes   Version.Time, as Timestamp.AppendBinary
//	 1 byte    flags: 1 for a tombstone, else 0
//	 n bytes   Version.Member, Key, Value: each its length as an unsigned
//	           varint (encoding/binary), then its bytes
//
// Equal entries have equal encodings and different ones different encodings:
// digests are made of it, so it is the same on every member and architecture
// and never changes. An entry that Store.Merge would call malformed gives bytes
// that ParseEntry refuses.
func (e Entry) AppendBinary(b []byte) []byte {
	b = e.Version.Time.AppendBinary(b)
	var flags byte
	if e.Deleted {
		flags = flagDeleted
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(e.Version.Member)))
	b = append(b, e.Version.Member...)
	b = binary.AppendUvarint(b, uint64(len(e.Key)))
	b = append(b, e.Key...)
	b = binary.AppendUvarint(b, uint64(len(e.Value)))
	return append(b, e.Value...)
}

// ParseEntry decodes one entry at the start of b and returns the bytes that
// follow it. Key and Value lie in b, with no room to append; only the member's
// name is allocated. It refuses every encoding but the canonical one, and
// lengths that b does not hold, with an error that wraps ErrMalformed; then rest
// is nil. Whether the sizes fit a map is for Store.Merge to say.
func ParseEntry(b []byte) (e Entry, rest []byte, err error) {
	if len(b) < TimestampBytes+1 {
		return Entry{}, nil, fmt.Errorf("parse entry: %d bytes are less than a timestamp and flags: %w", len(b), ErrMalformed)
	}
	if e.Version.Time, err = ParseTimestamp(b[:TimestampBytes]); err != nil {
		return Entry{}, nil, fmt.Errorf("parse entry: %w", err)
	}
	flags, rest := b[TimestampBytes], b[TimestampBytes+1:]
	if flags&^flagDeleted != 0 {
		return Entry{}, nil, fmt.Errorf("parse entry: unknown flags %#x: %w", flags, ErrMalformed)
	}
	e.Deleted = flags == flagDeleted

	var member []byte
	if member, rest, err = parseField(rest); err != nil {
		return Entry{}, nil, fmt.Errorf("parse entry: member: %w", err)
	}
	if len(member) == 0 || len(member) > MaxMemberBytes {
		return Entry{}, nil, fmt.Errorf("parse entry: member of %d bytes, 1 to %d are allowed: %w", len(member), MaxMemberBytes, ErrMalformed)
	}
	if e.Key, rest, err = parseField(rest); err != nil {
		return Entry{}, nil, fmt.Errorf("parse entry: key: %w", err)
	}
	if e.Value, rest, err = parseField(rest); err != nil {
		return Entry{}, nil, fmt.Errorf("parse entry: value: %w", err)
	}
	if e.Deleted && len(e.Value) != 0 {
		return Entry{}, nil, fmt.Errorf("parse entry: tombstone with a value of %d bytes: %w", len(e.Value), ErrMalformed)
	}
	e.Version.Member = string(member)
	return e, rest, nil
}

// parseField cuts a length and that many bytes off the start of b.
func parseField(b []byte) (field, rest []byte, err error) {
	length, n := binary.Uvarint(b)
	switch {
	case n <= 0:
		return nil, nil, fmt.Errorf("no length: %w", ErrMalformed)
	case n > 1 && b[n-1] == 0:
		// The last of several bytes adds nothing: a longer form of a number
		// that has a shorter one.
		return nil, nil, fmt.Errorf("length is not in its shortest form: %w", ErrMalformed)
	case length > uint64(len(b)-n):
		return nil, nil, fmt.Errorf("%d bytes announced, %d are left: %w", length, len(b)-n, ErrMalformed)
	}
	end := n + int(length)
	return b[n:end:end], b[end:], nil
}
