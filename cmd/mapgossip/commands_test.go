package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip"
)

// answers is an agent that tells what it was given, by method and path as asked.
type answers map[string]string

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	asked := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
	text, ok := a[asked]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		text = fmt.Sprintf(`{"error": %q}`, "no answer to "+asked)
	}
	fmt.Fprint(w, text)
}

func text(t *testing.T, value any) string {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// entryFixture is an entry as an agent tells it, with types.
func flowEntry() mapgossip.Entry {
	return mapgossip.Entry{
		Map: "flows", Key: "0a000001bb01", KeyText: "{saddr: 10.0.0.1, dport: 443}", Value: "2a00000000000000", ValueText: "{packets: 42}",
		Node: "lb-2", Time: present().Add(-3*time.Second + 123456789), Logical: 2, Kernel: &mapgossip.KernelValue{Present: true, Value: "2a00000000000000", ValueText: "{packets: 42}"},
	}
}

// entryFixtures are entries in every state.
func entryFixtures() []mapgossip.Entry {
	plain := mapgossip.Entry{Map: "acl", Key: "00000001", Value: "01", Node: "lb-1", Time: present().Add(-time.Hour), Kernel: &mapgossip.KernelValue{Present: true, Value: "01"}}
	list := []mapgossip.Entry{flowEntry(), plain}
	add := func(change func(*mapgossip.Entry)) {
		e := plain
		change(&e)
		list = append(list, e)
	}
	add(func(e *mapgossip.Entry) { e.Deleted, e.Value, e.Kernel = true, "", &mapgossip.KernelValue{} })
	add(func(e *mapgossip.Entry) { e.Deleted, e.Value = true, "" })
	add(func(e *mapgossip.Entry) { e.Pending, e.Kernel = true, &mapgossip.KernelValue{} })
	add(func(e *mapgossip.Entry) { e.Evicted, e.Kernel = true, &mapgossip.KernelValue{} })
	add(func(e *mapgossip.Entry) { e.Kernel = &mapgossip.KernelValue{Present: true, Value: "02"} })
	add(func(e *mapgossip.Entry) { e.Kernel = nil })
	add(func(e *mapgossip.Entry) { e.Value = strings.Repeat("ab", 100) })
	add(func(e *mapgossip.Entry) { e.Node, e.Time, e.Value = "", time.Time{}, "" })
	return list
}

// TestAnswersShown: what the commands make of what an agent answers, and that
// JSON is the answer itself.
func TestAnswersShown(t *testing.T) {
	e := flowEntry()
	other, gone := e, e
	other.Node, other.Time, other.ValueText, other.Value = "lb-1", e.Time.Add(-time.Second), "{packets: 41}", "2900000000000000"
	gone.Deleted, gone.Value, gone.ValueText, gone.Kernel = true, "", "", nil
	held := func(members ...mapgossip.Held) string { return text(t, heldReply{e.Key, members}) }
	self := mapgossip.Held{Node: "lb-1", Self: true, Entry: &e}
	rows := ""
	for _, e := range entryFixtures() {
		rows += text(t, e)
	}
	keys := func(failed string) string {
		return text(t, keysReply{[]mapgossip.MemberKeys{
			{Node: "lb-1", Self: true, Keys: []string{"0123456789abcdef"}, Kept: true},
			{Node: "lb-2", Keys: []string{"fedcba9876543210", "0123456789abcdef"}},
			{Node: "lb-3", Error: failed, Keys: []string{}},
		}})
	}
	new := "AAAAAAAAAAAAAAAAAAAAAA=="
	file := writeFile(t, "# new\n"+new+"\n", 0o600)
	for _, test := range []struct {
		golden string
		args   []string
		asked  string
		answer string
		stderr string // after ADDR; the code is 1 then
	}{
		{"get.txt", []string{"get", "flows", "saddr=10.0.0.1,dport=443"}, "GET /debug/maps/flows/entries/saddr=10.0.0.1%2Cdport=443", text(t, e), ""},
		{"get-members.txt", []string{"get", "flows", "0a 00/%", "--members"}, "GET /debug/maps/flows/entries/0a%2000%2F%25/members",
			held(self, mapgossip.Held{Node: "lb-2", Entry: &other}, mapgossip.Held{Node: "lb-3", Entry: &gone}, mapgossip.Held{Node: "lb-4"}, mapgossip.Held{Node: "lb-5", Error: "no answer within 3 s"}), ""},
		{"get-equal.txt", []string{"get", "flows", "0a", "--members"}, "GET /debug/maps/flows/entries/0a/members", held(self, mapgossip.Held{Node: "lb-2", Entry: &e}), ""},
		{"dump.txt", []string{"dump", "flows", "--tombstones"}, "GET /debug/maps/flows/entries?tombstones=1", rows, ""},
		{"dump-none.txt", []string{"dump", "flows"}, "GET /debug/maps/flows/entries", "", ""},
		{"diff.txt", []string{"diff", "flows", "lb-2"}, "GET /debug/maps/flows/diff?member=lb-2",
			text(t, mapgossip.Difference{Key: e.Key, KeyText: e.KeyText, Here: &other, There: &e, Newer: "there"}) + text(t, mapgossip.Difference{Key: "00", Here: &gone, Newer: "here"}), ""},
		{"diff-one.txt", []string{"diff", "flows", "lb-2"}, "GET /debug/maps/flows/diff?member=lb-2", text(t, mapgossip.Difference{Key: "00", There: &gone, Newer: "there"}), ""},
		{"diff-equal.txt", []string{"diff", "flows", "lb&2"}, "GET /debug/maps/flows/diff?member=lb%262", "", ""},
		{"scan.txt", []string{"scan", "flows"}, "POST /debug/maps/flows/scan", text(t, mapgossip.ScanReport{Map: "flows", Elements: 10000, DurationMS: 1234}), ""},
		{"scan-differed.txt", []string{"scan", "flows"}, "POST /debug/maps/flows/scan", text(t, mapgossip.ScanReport{Map: "flows", Elements: 1, Differed: 7, Stamped: 4, Written: 2, DurationMS: 80}), ""},
		{"sync.txt", []string{"sync"}, "POST /debug/sync", `{"synced":true,"in_sync":true}` + "\n", ""},
		{"sync-not.txt", []string{"sync"}, "POST /debug/sync", `{"synced":true,"in_sync":false}` + "\n", ""},
		{"leave.txt", []string{"leave"}, "POST /debug/leave", `{"leaving":true}` + "\n", ""},
		{"keys.txt", []string{"keys"}, "GET /debug/keys", keys("no answer within 3 s"), ""},
		{"keys.txt", []string{"keys", "list"}, "GET /debug/keys", keys("no answer within 3 s"), ""},
		{"keys-install.txt", []string{"keys", "install", file}, "POST /debug/keys/install " + new, keys(""), ""},
		{"keys-use.txt", []string{"keys", "use", "0123456789abcdef"}, "POST /debug/keys/0123456789abcdef/use", keys("no answer within 3 s"),
			"change keys: not done, or not known to be, on lb-3: mend what each says, and give the command again"},
		{"keys-install.txt", []string{"keys", "remove", "0123"}, "POST /debug/keys/0123/remove", keys(""), ""},
	} {
		at := agentAt(t, answers{test.asked: test.answer})
		code, stderr := 0, ""
		if test.stderr != "" {
			code, stderr = 1, "mapgossip: "+test.stderr+"\n"
		}
		args := append(test.args, "--http", at)
		r := invoke(t, nil, args...)
		golden(t, test.golden, r.stdout)
		wantResult(t, r, result{code, r.stdout, stderr})
		wantResult(t, invoke(t, nil, append(args, "-o", "json")...), result{code, test.answer, stderr})
	}
}

func TestEntriesShown(t *testing.T) {
	var shown strings.Builder
	for _, e := range entryFixtures() {
		writeEntry(&shown, e, present(), false)
		shown.WriteString("\n")
	}
	golden(t, "entries.txt", shown.String())
}

func TestCommandFaults(t *testing.T) {
	at := agentAt(t, answers{
		"GET /debug/maps/flows/entries": `{"key":"00"}` + "\n" + `{"error":"node has stopped"}` + "\n",
		"GET /debug/maps/cut/entries":   `{"key":"00"}` + "\n" + `{"ke`,
	})
	two := writeFile(t, strings.Repeat("AAAAAAAAAAAAAAAAAAAAAA==\n", 2), 0o600)
	for _, test := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"get flows", 2, "get takes 2 arguments, NAME and KEY; 'mapgossip get --help' says which"},
		{"dump", 2, "dump takes one argument, NAME; 'mapgossip dump --help' says which"},
		{"scan flows acl", 2, "scan takes one argument, NAME; 'mapgossip scan --help' says which"},
		{"sync now", 2, "unexpected argument \"now\": sync takes flags only; 'mapgossip sync --help' lists them"},
		{"get flows 00 -o xml", 2, "--output \"xml\": want table or json"},
		{"keys instal x", 2, "keys: unknown word \"instal\": did you mean install?"},
		{"keys frobnicate", 2, "keys: unknown word \"frobnicate\": 'mapgossip keys --help' says what there is"},
		{"keys use", 2, "keys use takes one argument, FINGERPRINT; 'mapgossip keys --help' says what there is"},
		{"keys list all", 2, "keys list: unexpected argument \"all\": 'mapgossip keys --help' says what there is"},
		{"keys install /nonexistent", 2, "read keyring /nonexistent: no such file or directory; 'mapgossip keygen > FILE' makes one"},
		{"keys install " + two, 2, "keys install: " + two + " has 2 keys: give a file with the new one only"},
		{"completion tcsh", 2, "completion for \"tcsh\": there is one for bash, zsh and fish"},
		{"get nothing 00", 1, "ask agent at ADDR for /debug/maps/nothing/entries/00: no answer to GET /debug/maps/nothing/entries/00"},
		{"diff flows lb-9", 1, "ask agent at ADDR for /debug/maps/flows/diff: no answer to GET /debug/maps/flows/diff?member=lb-9"},
		{"watch nothing", 1, "ask agent at ADDR for /debug/maps/nothing/watch: no answer to GET /debug/maps/nothing/watch"},
		{"watch /", 2, "open map: malformed target \"/\": a pin is a file, this path ends in a slash"},
		{"dump flows -o json", 1, "ask agent at ADDR for /debug/maps/flows/entries: node has stopped"},
		{"dump cut -o json", 1, "ask agent at ADDR: it hung up: is it just stopping?"},
	} {
		r := invoke(t, []string{"MAPGOSSIP_HTTP=" + at}, strings.Fields(test.args)...)
		if want := "mapgossip: " + strings.ReplaceAll(test.stderr, "ADDR", at) + "\n"; r.code != test.code || r.stderr != want {
			t.Errorf("%s: code %d, stderr %q; want %d, %q", test.args, r.code, r.stderr, test.code, want)
		}
	}
}

// TestAnswersCannotMoveTheCursor: nothing that comes from elsewhere is taken by a
// terminal for more than letters.
func TestAnswersCannotMoveTheCursor(t *testing.T) {
	e := flowEntry()
	e.Node, e.ValueText = "lb\x1b[2J\u202e", "a\nb\u009b"
	at := agentAt(t, answers{"GET /debug/maps/flows/entries": text(t, e), "GET /debug/maps/flows/entries/0a": text(t, e)})
	for _, args := range [][]string{{"dump", "flows"}, {"get", "flows", "0a"}} {
		r := invoke(t, nil, append(args, "--http", at)...)
		if strings.ContainsAny(r.stdout, "\x1b\u202e\u009b") || !strings.Contains(r.stdout, `lb\x1b[2J\u202e`) || !strings.Contains(r.stdout, `a\x0ab\x9b`) {
			t.Errorf("%s: %q", args, r.stdout)
		}
	}
}
