package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mapgossip/mapgossip/crdt"
)

// partEntries is how many entries a part has at most, on average.
const partEntries = 16

// chunk is some buckets that differ, divided into parts.
type chunk struct {
	buckets []int
	parts   int    // of each bucket
	differ  []byte // a bit each part: the two sides' sums differ
}

// narrow brings buckets that both sides have entries of together, a chunk at a
// time: sums of parts, fingerprints of the entries in those that differ, then
// the entries that a side lacks.
func (c *Cluster) narrow(s *session, buckets []int, total int) error {
	parts := 1
	for parts < maxParts && total > parts*partEntries*crdt.Buckets {
		parts *= 2
	}
	perBucket := max(1, total/crdt.Buckets)
	most := max(1, min(maxChunkBuckets, maxChunkParts/parts, framePrints*2/perBucket))
	for number := 0; len(buckets) > 0; number++ {
		n := min(most, len(buckets))
		if err := c.askChunk(s, number, chunk{buckets: buckets[:n], parts: parts}, total); err != nil {
			return fmt.Errorf("chunk %d: %w", number, err)
		}
		buckets = buckets[n:]
	}
	return nil
}

// askChunk is the asking side of one chunk.
func (c *Cluster) askChunk(s *session, number int, ch chunk, total int) error {
	sums, err := c.partSums(s, ch, total)
	if err != nil {
		return err
	}
	ask := syncParts{Session: s.id, Chunk: number, Buckets: make([]byte, bucketMapBytes), Parts: ch.parts}
	for _, b := range ch.buckets {
		setBit(ask.Buckets, b)
	}
	for _, sum := range sums {
		ask.Sums = appendPrint(ask.Sums, sum)
	}
	if err := c.sendStream(s.peer, ask.encode(c.name)); err != nil {
		return err
	}
	prints, err := c.collectPrints(s, number, &ch)
	if err != nil {
		return err
	}
	theirs := make(map[uint64]bool, len(prints)) // true: we have it too
	for _, print := range prints {
		theirs[print] = false
	}
	lack := syncLack{Session: s.id, Chunk: number, Lacks: make([]byte, (len(prints)+7)/8)}
	err = c.eachPrint(s, ch, total, func(_ crdt.Slot, e crdt.Entry, print uint64) {
		if _, ok := theirs[print]; ok {
			theirs[print] = true
		} else if len(lack.Newer) < hintBytes*framePrints {
			lack.Newer = binary.BigEndian.AppendUint64(lack.Newer, keyHint(e.Key, s.id))
			lack.Newer = binary.BigEndian.AppendUint64(lack.Newer, uint64(e.Version.Time.Wall))
		}
	})
	if err != nil {
		return err
	}
	lacks := false
	for i, print := range prints {
		if !theirs[print] {
			setBit(lack.Lacks, i)
			lacks = true
		}
	}
	if !lacks {
		lack.Newer = nil
	}
	if err := c.sendStream(s.peer, lack.encode(c.name)); err != nil {
		return err
	}
	message, err := s.next()
	if err != nil {
		return err
	}
	if m, ok := message.(syncChunk); !ok || m.Chunk != number {
		return fmt.Errorf("%T instead of the chunk's end", message)
	}
	// What the other side sent is merged: an entry that lost is not sent back.
	var slots []crdt.Slot
	err = c.eachPrint(s, ch, total, func(slot crdt.Slot, _ crdt.Entry, print uint64) {
		if _, ok := theirs[print]; !ok {
			slots = append(slots, slot)
		}
	})
	if err != nil {
		return err
	}
	return c.ship(s, slots)
}

// collectPrints receives the fingerprints of a chunk, whose frames come in any
// order, and notes which parts differ.
func (c *Cluster) collectPrints(s *session, number int, ch *chunk) ([]uint64, error) {
	var prints []uint64
	seen := make(map[int]bool)
	for left := -1; left != 0; {
		message, err := s.next()
		if err != nil {
			return nil, err
		}
		m, ok := message.(syncPrints)
		if !ok || m.Chunk != number || len(m.Parts) != (len(ch.buckets)*ch.parts+7)/8 || seen[m.At] {
			return nil, fmt.Errorf("%T instead of the chunk's fingerprints", message)
		}
		if left < 0 {
			ch.differ, left = m.Parts, m.Total
			prints = make([]uint64, m.Total)
		}
		if m.Total != len(prints) {
			return nil, errors.New("frames of fingerprints disagree")
		}
		seen[m.At] = true
		for i := range len(m.Prints) / printBytes {
			prints[m.At+i] = printAt(m.Prints, i)
			left--
		}
	}
	return prints, nil
}

// answerParts is the answering side of one chunk.
func (c *Cluster) answerParts(s *session, ask syncParts, total int) error {
	ch := chunk{buckets: bucketList(ask.Buckets), parts: ask.Parts}
	sums, err := c.partSums(s, ch, total)
	if err != nil {
		return err
	}
	ch.differ = make([]byte, (len(sums)+7)/8)
	for i, sum := range sums {
		if sum != printAt(ask.Sums, i) {
			setBit(ch.differ, i)
		}
	}
	// The slots, and not what was in them: what is lacked is sent as it is by then.
	var slots []crdt.Slot
	var prints []byte
	err = c.eachPrint(s, ch, total, func(slot crdt.Slot, _ crdt.Entry, print uint64) {
		slots, prints = append(slots, slot), appendPrint(prints, print)
	})
	if err != nil {
		return err
	}
	if len(slots) > maxPrints {
		return fmt.Errorf("%d entries in one chunk: at most %d can be told apart", len(slots), maxPrints)
	}
	for at := 0; at == 0 || at < len(slots); at += framePrints {
		n := min(framePrints, len(slots)-at)
		frame := syncPrints{s.id, ask.Chunk, ch.differ, len(slots), at, prints[at*printBytes : (at+n)*printBytes]}.encode(c.name)
		if err := c.sendStream(s.peer, frame); err != nil {
			return err
		}
	}
	message, err := s.next()
	if err != nil {
		return err
	}
	lack, ok := message.(syncLack)
	if !ok || lack.Chunk != ask.Chunk || len(lack.Lacks) != (len(slots)+7)/8 {
		return fmt.Errorf("%T instead of what the member lacks", message)
	}
	wanted := slots[:0]
	for i, slot := range slots {
		if bitAt(lack.Lacks, i) {
			wanted = append(wanted, slot)
		}
	}
	if wanted, err = c.withoutOlder(s, wanted, lack.Newer); err != nil {
		return err
	}
	if err := c.ship(s, wanted); err != nil {
		return err
	}
	if err := c.settle(s); err != nil {
		return err
	}
	return c.sendStream(s.peer, syncChunk{s.id, ask.Chunk}.encode(c.name))
}

// withoutOlder removes the slots whose entries the other side has newer ones
// of. Where it errs, by a collision of keyHint, the next session does not.
func (c *Cluster) withoutOlder(s *session, slots []crdt.Slot, hints []byte) ([]crdt.Slot, error) {
	if len(hints) == 0 || len(slots) == 0 {
		return slots, nil
	}
	newer := make(map[uint64]int64, len(hints)/hintBytes)
	for ; len(hints) > 0; hints = hints[hintBytes:] {
		newer[binary.BigEndian.Uint64(hints)] = int64(binary.BigEndian.Uint64(hints[8:]))
	}
	kept := slots[:0]
	for len(slots) > 0 {
		n := min(readEntries, len(slots))
		err := c.replica.Read(s.ctx, s.spec.Name, func(store *crdt.Store) {
			for _, slot := range slots[:n] {
				e, known := store.At(slot)
				if !known {
					continue
				}
				if wall, ok := newer[keyHint(e.Key, s.id)]; !ok || wall <= e.Version.Time.Wall {
					kept = append(kept, slot)
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("versions to compare: %w", err)
		}
		slots = slots[n:]
	}
	return kept, nil
}

// partSums returns the sums of the chunk's parts, bucket by bucket.
func (c *Cluster) partSums(s *session, ch chunk, total int) ([]uint64, error) {
	sums := make([]uint64, len(ch.buckets)*ch.parts)
	group := bucketsPerRead(total)
	for from := 0; from < len(ch.buckets); from += group {
		err := c.replica.Read(s.ctx, s.spec.Name, func(store *crdt.Store) {
			for i := from; i < min(from+group, len(ch.buckets)); i++ {
				store.BucketParts(ch.buckets[i], s.id, sums[i*ch.parts:(i+1)*ch.parts])
			}
		})
		if err != nil {
			return nil, fmt.Errorf("sums of parts: %w", err)
		}
	}
	return sums, nil
}

// eachPrint calls fn, inside Replica.Read, for each entry in the parts that differ.
func (c *Cluster) eachPrint(s *session, ch chunk, total int, fn func(crdt.Slot, crdt.Entry, uint64)) error {
	group := bucketsPerRead(total)
	for from := 0; from < len(ch.buckets); from += group {
		err := c.replica.Read(s.ctx, s.spec.Name, func(store *crdt.Store) {
			for i := from; i < min(from+group, len(ch.buckets)); i++ {
				if !ch.anyDiffers(i) {
					continue
				}
				for slot := range store.BucketSlots(ch.buckets[i]) {
					e, _ := store.At(slot)
					if bitAt(ch.differ, i*ch.parts+crdt.PartOf(e.Key, ch.parts)) {
						fn(slot, e, store.Fingerprint(slot, s.id))
					}
				}
			}
		})
		if err != nil {
			return fmt.Errorf("fingerprints: %w", err)
		}
	}
	return nil
}

// anyDiffers reports whether a part of the chunk's bucket i differs.
func (ch chunk) anyDiffers(i int) bool {
	for part := range ch.parts {
		if bitAt(ch.differ, i*ch.parts+part) {
			return true
		}
	}
	return false
}
