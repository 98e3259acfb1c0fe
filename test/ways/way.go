//go:build linux

package ways

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip"
)

// Way is a way to change a map: a row of the table.
type Way struct {
	Name  string // "syscall update"
	Title string // for people

	evict string // what an LRU map's option of that name is
	// do changes the element c.key() to c.number(). An error is the kernel's, and
	// then the way is refused.
	do func(c *trial) error
	// keeps: the other member must have all that was ever in the map, and this
	// one's status must count what the map let go of.
	keeps bool
	// apart: the maps are to differ in the end.
	apart bool
	// drains: nothing is left in the map.
	drains bool
	// alone: it would spoil other ways on the same map.
	alone bool
}

// Ways are the rows, but for those that replace the map.
func Ways() []Way {
	return []Way{
		{Name: "syscall update", Title: "Update, by system call", do: (*trial).update},
		{Name: "syscall delete", Title: "Delete", do: (*trial).delete},
		{Name: "batch update", Title: "Batch update", do: (*trial).batchUpdate},
		{Name: "batch delete", Title: "Batch delete", do: (*trial).batchDelete},
		{Name: "lookup and delete", Title: "Lookup and delete", do: (*trial).lookupAndDelete},
		{Name: "lookup and delete batch", Title: "Lookup and delete, batch", do: (*trial).drain, drains: true, alone: true},
		{Name: "locked update", Title: "Update with `BPF_F_LOCK`", do: (*trial).lockedUpdate},
		{Name: "program update, task", Title: "Update by a program, task context", do: inTask(waysProgRunUpdate)},
		{Name: "program delete, task", Title: "Delete by a program, task context", do: inTask(waysProgRunDelete)},
		{Name: "program update, softirq", Title: "Update by a program, softirq (XDP)", do: inSoftirq(waysProgRunUpdate)},
		{Name: "program delete, softirq", Title: "Delete by a program, softirq (XDP)", do: inSoftirq(waysProgRunDelete)},
		{Name: "program update, timer", Title: "Update by a `bpf_timer` callback", do: inTask(waysProgTimerUpdate)},
		{Name: "program delete, timer", Title: "Delete by a `bpf_timer` callback", do: inTask(waysProgTimerDelete)},
		{Name: "program update, tracing", Title: "Update by a tracing program", do: inTrace(waysProgTraceUpdate)},
		{Name: "program delete, tracing", Title: "Delete by a tracing program", do: inTrace(waysProgTraceDelete)},
		{Name: "pointer write", Title: "Write through a looked-up pointer", do: inTask(waysProgRunPointer)},
		{Name: "atomic add", Title: "Atomic add", do: inTask(waysProgRunAtomic)},
		{Name: "for each", Title: "Write in a `bpf_for_each_map_elem` callback", do: inTask(waysProgRunForEach)},
		{Name: "mmap store", Title: "Store to mapped memory", do: (*trial).mmapStore},
		{Name: "full, evict=local", Title: "Insert into a full map; `evict=local`: the others keep what it lets go of", evict: "local", do: (*trial).overfill, keeps: true, alone: true},
		{Name: "full, evict=delete", Title: "Insert into a full map; `evict=delete`: the others delete what it lets go of", evict: "delete", do: (*trial).overfill, alone: true},
		{Name: "frozen, syscall update", Title: "Frozen map, update by system call", do: (*trial).frozenUpdate, apart: true, alone: true},
		{Name: "frozen, program update", Title: "Frozen map, update by a program", do: (*trial).frozenProgram, alone: true},
	}
}

// mapConfig of a map of the type that the way is done to.
func (w Way) mapConfig(t Type, name, target string) (mapgossip.MapConfig, error) {
	text := name + "=" + target
	if t.kind == ebpf.LRUHash && w.evict != "" {
		text += ",evict=" + w.evict
	}
	return mapgossip.ParseMap(text)
}

// rows of the table, in order.
func rows() []Way { return append(Ways(), Lives()...) }

// order of a cell among all: by types, then by ways.
func order(c Cell) int {
	kind := slices.IndexFunc(Types(), func(t Type) bool { return t.Name == c.Type })
	if kind < 0 {
		kind = len(Types()) + slices.IndexFunc(refusedKinds(), func(k refusedKind) bool { return k.name == c.Type })
	}
	return kind*(len(rows())+1) + slices.IndexFunc(rows(), func(w Way) bool { return w.Name == c.Way })
}

func (c *trial) update() error {
	return errors.Join(c.m.Put(c.key(), c.value()), c.m.Put(c.freshKey(), c.value()))
}

func (c *trial) delete() error { return c.m.Delete(c.key()) }

// elements makes a slice of arrays, as the library wants batches.
func elements(all ...[]byte) any {
	kind := reflect.ArrayOf(len(all[0]), reflect.TypeFor[byte]())
	slice := reflect.MakeSlice(reflect.SliceOf(kind), len(all), len(all))
	for i, e := range all {
		reflect.Copy(slice.Index(i), reflect.ValueOf(e))
	}
	return slice.Interface()
}

func (c *trial) batchUpdate() error {
	_, err := c.m.BatchUpdate(elements(c.key(), c.freshKey()), elements(c.value(), c.value()), nil)
	return err
}

func (c *trial) batchDelete() error {
	_, err := c.m.BatchDelete(elements(c.key()), nil)
	return err
}

func (c *trial) lookupAndDelete() error {
	var v []byte
	return c.m.LookupAndDelete(c.key(), &v)
}

// drain takes all that is in the map.
func (c *trial) drain() error {
	keys, values := make([][]byte, c.entries()), make([][]byte, c.entries())
	for i := range keys {
		keys[i], values[i] = make([]byte, c.m.KeySize()), make([]byte, c.m.ValueSize())
	}
	var cursor ebpf.MapBatchCursor
	_, err := c.m.BatchLookupAndDelete(&cursor, elements(keys...), elements(values...), nil)
	if errors.Is(err, ebpf.ErrKeyNotExist) { // these were the last
		return nil
	}
	return err
}

func (c *trial) lockedUpdate() error { return c.m.Update(c.key(), c.value(), ebpf.UpdateLock) }

func (c *trial) mmapStore() error {
	size := int(c.m.MaxEntries() * c.m.ValueSize())
	memory, err := unix.Mmap(c.m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(memory[c.index()*int(c.m.ValueSize()):], c.value())
	return unix.Munmap(memory)
}

// overfill inserts more keys than the map has room for. An LRU map lets go of fewer
// than it has room for: of so many a member remembers that they are evicted.
func (c *trial) overfill() error {
	for i := range c.entries() + blockKeys {
		key := c.Type.key(c.entries() + i)
		if err := c.m.Put(key, c.value()); err != nil {
			return err
		}
		c.all[string(key)] = string(c.value())
	}
	return nil
}

// frozenUpdate also writes the other member's map: that waits, and is told.
func (c *trial) frozenUpdate() error {
	if err := c.m.Freeze(); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	if err := c.theirs.Write(c.freshKey(), c.value(), 0); err != nil {
		return fmt.Errorf("write the other member's map: %w", err)
	}
	if err := c.pair.untilWaiting(c, "frozen"); err != nil {
		return err
	}
	return c.m.Put(c.key(), c.value())
}

func (c *trial) frozenProgram() error {
	if err := c.m.Freeze(); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	return inTask(waysProgRunUpdate)(c)
}

// inTask runs a program by BPF_PROG_RUN.
func inTask(name string) func(c *trial) error { return with(name, (*program).run) }

// inSoftirq runs it on a packet.
func inSoftirq(name string) func(c *trial) error { return with(name, (*program).onPacket) }

// inTrace runs it at a tracepoint.
func inTrace(name string) func(c *trial) error { return with(name, (*program).onTrace) }

func with(name string, run func(*program) error) func(c *trial) error {
	return func(c *trial) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p, err := loadProgram(name, c.m, c.Type.programKey(c.index()), c.number())
		if err != nil {
			return err
		}
		defer p.close()
		return run(p)
	}
}
