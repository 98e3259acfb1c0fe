//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
)

// ownSlot is SLOT_OWN in bpf/capture.bpf.c: whoever writes a map that is watched
// under this slot is the apply thread from then on.
const ownSlot uint32 = 0xffffffff

// forgetOwnThread makes the programs take no thread's writes for ours.
func (c *capture) forgetOwnThread() error {
	return c.collection.Variables[captureVarOwnTid].Set(uint32(0))
}

// learnOwnThread makes the programs take the writes of the thread that apply
// writes on for ours. They see for themselves who that is and when it began, so
// that no other thread can come to be taken for it, not even one that gets its ID
// after its end. id is of a map that only apply writes; it stays watched as ownSlot.
func (c *capture) learnOwnThread(id uint32, apply func() error) error {
	if err := c.forgetOwnThread(); err != nil {
		return err
	}
	if err := c.watch(id, ownSlot); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	var thread uint32
	if err := c.collection.Variables[captureVarOwnTid].Get(&thread); err != nil {
		return fmt.Errorf("read the apply thread's ID: %w", err)
	}
	if thread == 0 {
		return errors.New("the programs did not see the write")
	}
	return nil
}
