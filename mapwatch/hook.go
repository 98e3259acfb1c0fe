//go:build linux

package mapwatch

import "slices"

// hook is one kernel function that the capture listens on.
type hook struct {
	number   int    // enum hook in bpf/capture.bpf.c
	name     string // begins the names of its programs in the capture object
	function string // kernel/bpf/hashtab.c, arraymap.c, lpm_trie.c
	types    []string
	lacking  string // what is left to the scan without it; empty: no capture of its types without it
	before   bool   // in ModeFentry by fentry; else by fexit in both modes
	alone    bool   // without a catcher
	since    uint32 // LINUX_VERSION_CODE of the first kernel that has the operation at all
}

// hookCount is HOOKS in bpf/capture.bpf.c.
const hookCount = 10

// hooks returns all, each at the index that is its number.
func hooks() []hook {
	hash, lru := []string{TypeHash}, []string{TypeLRUHash}
	both := []string{TypeHash, TypeLRUHash}
	array, lpm := []string{TypeArray}, []string{TypeLPMTrie}
	all := []hook{
		{name: "hash_update", function: "htab_map_update_elem", types: hash, before: true},
		{name: "hash_delete", function: "htab_map_delete_elem", types: hash},
		{name: "lru_update", function: "htab_lru_map_update_elem", types: lru, before: true},
		{name: "lru_delete", function: "htab_lru_map_delete_elem", types: lru},
		{name: "lru_evict", function: "htab_lru_map_delete_node", types: lru, alone: true, lacking: "evictions"},
		{name: "lookup_and_delete", function: "__htab_map_lookup_and_delete_elem", types: both, lacking: "deletes by lookup_and_delete", since: 5<<16 | 14<<8},
		{name: "lookup_and_delete_batch", function: "__htab_map_lookup_and_delete_batch", types: both, alone: true, lacking: "deletes by lookup_and_delete_batch"},
		{name: "array_update", function: "array_map_update_elem", types: array, before: true},
		{name: "lpm_update", function: "trie_update_elem", types: lpm, before: true},
		{name: "lpm_delete", function: "trie_delete_elem", types: lpm},
	}
	for i := range all {
		all[i].number = i
	}
	return all
}

// hooksOf returns those that maps of these types come to.
func hooksOf(types ...string) []hook {
	return slices.DeleteFunc(hooks(), func(h hook) bool { return !h.serves(types) })
}

// serves reports whether maps of one of these types come to the function.
func (h hook) serves(types []string) bool {
	return slices.ContainsFunc(h.types, func(t string) bool { return slices.Contains(types, t) })
}

// program returns the name of the program that serves the hook in a mode.
func (h hook) program(mode Mode) string {
	if mode == ModeFentry && h.before {
		return h.name + "_fentry"
	}
	return h.name + "_fexit"
}

// catcher returns the name of the program that comes to what the kernel's
// recursion guard kept from the other one; empty: there is none.
func (h hook) catcher(mode Mode) string {
	if h.alone {
		return ""
	}
	return h.program(mode) + "_catcher"
}

// lacks is a sentence for Reason.
func (h hook) lacks(why string) string {
	return why + ", so " + h.lacking + " are found by the scan only"
}

// hookNamed is the hook of that name.
func hookNamed(name string) hook {
	all := hooks()
	return all[slices.IndexFunc(all, func(h hook) bool { return h.name == name })]
}
