package mapgossip

import "time"

// View is what one member says of its maps and of the others: who is equal with
// whom. The JSON names are a contract.
type View struct {
	Node    string       `json:"node"`
	Self    bool         `json:"self"`
	Error   string       `json:"error"` // why there is no answer; the rest is empty then
	Maps    []MapView    `json:"maps"`
	Members []MemberView `json:"members"` // all that it knows but itself
}

// MapView is one map of a View. The JSON names are a contract.
type MapView struct {
	Name         string `json:"name"`
	Digest       string `json:"digest"` // equal digests: the same entries
	Entries      int    `json:"entries"`
	Tombstones   int    `json:"tombstones"`
	PendingApply int    `json:"pending_apply"`
}

// MemberView is one other member of a View. The JSON names are a contract.
type MemberView struct {
	Node     string    `json:"node"`
	State    string    `json:"state"`
	InSync   bool      `json:"in_sync"`
	LastSync time.Time `json:"last_sync"` // zero: never
}

// Held is what one member has of a key. The JSON names are a contract.
type Held struct {
	Node  string `json:"node"`
	Self  bool   `json:"self"`
	Error string `json:"error"` // why there is no answer
	Entry *Entry `json:"entry"` // null: it has none
}

// Difference is a key of which two members have different entries. The JSON
// names are a contract.
type Difference struct {
	Key     string `json:"key"`
	KeyText string `json:"key_text"`
	Here    *Entry `json:"here"`  // null: this member has none
	There   *Entry `json:"there"` // null: the other one has none
	Newer   string `json:"newer"` // here or there: which entry will win
}

// ScanReport is what a comparison of a whole kernel map with the store came
// to. The JSON names are a contract.
type ScanReport struct {
	Map        string  `json:"map"`
	Elements   int     `json:"elements"`    // that the kernel map has
	Differed   uint64  `json:"differed"`    // keys that differed from the store, at a second look too
	Stamped    uint64  `json:"stamped"`     // of these: changes that nothing had told of, and that now spread
	Written    uint64  `json:"written"`     // of these: entries written into the kernel map
	DurationMS float64 `json:"duration_ms"` // from the request on: a scan that was under way is waited for first
}

// MemberKeys is what one member answered about the keys that members encrypt
// with. The JSON names are a contract.
type MemberKeys struct {
	Node  string   `json:"node"`
	Self  bool     `json:"self"`
	Error string   `json:"error"` // why it did not do what it was asked, or no answer came
	Keys  []string `json:"keys"`  // fingerprints, the one that encrypts first
	Kept  bool     `json:"kept"`  // in its keyring file, so that a restart has them
}
