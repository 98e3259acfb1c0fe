package mapwatch

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// NameBytes is how much of a map's name the kernel keeps (BPF_OBJ_NAME_LEN
// less the terminating NUL).
const NameBytes = 15

// Target is where to find a map. Exactly one field is set.
type Target struct {
	Path string // absolute path of a pin
	ID   uint32 // the kernel's number
	Name string // the kernel's name, 1 to NameBytes bytes
}

// ParseTarget reads "/sys/fs/bpf/flows", "id:42" or "name:flows". It looks at
// the text only, not at the kernel. Errors wrap ErrTarget.
func ParseTarget(text string) (Target, error) {
	fail := func(format string, args ...any) (Target, error) {
		return Target{}, fmt.Errorf("%w %q: %s", ErrTarget, text, fmt.Sprintf(format, args...))
	}
	if id, ok := strings.CutPrefix(text, "id:"); ok {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || n == 0 {
			return fail("after id: comes a number from 1 to 4294967295, as bpftool map list prints it")
		}
		return Target{ID: uint32(n)}, nil
	}
	if name, ok := strings.CutPrefix(text, "name:"); ok {
		switch {
		case name == "":
			return fail("after name: comes a map's name, as bpftool map list prints it")
		case len(name) > NameBytes:
			return fail("the kernel keeps the first %d bytes of a name; write name:%s if that is the map", NameBytes, name[:NameBytes])
		case strings.IndexFunc(name, notInName) >= 0:
			return fail("a map's name has letters, digits, '_' and '.' only")
		}
		return Target{Name: name}, nil
	}
	switch {
	case !strings.HasPrefix(text, "/"):
		return fail("want the absolute path of a pin (/sys/fs/bpf/flows), id:NUMBER or name:NAME")
	case strings.HasSuffix(text, "/"):
		return fail("a pin is a file, this path ends in a slash")
	case strings.ContainsRune(text, 0):
		return fail("a path has no NUL byte")
	}
	return Target{Path: path.Clean(text)}, nil
}

// notInName: bpf_obj_name_cpy in kernel/bpf/syscall.c.
func notInName(r rune) bool {
	return r >= 0x80 || !(r == '_' || r == '.' ||
		'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

// String is what ParseTarget reads.
func (t Target) String() string {
	switch {
	case t.ID != 0:
		return "id:" + strconv.FormatUint(uint64(t.ID), 10)
	case t.Name != "":
		return "name:" + t.Name
	}
	return t.Path
}
