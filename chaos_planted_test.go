package mapgossip

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// chaosPlant is a bug that TestChaos must find: new is put where old is, which
// is there once.
type chaosPlant struct {
	name, file, old, new string
}

var chaosPlants = []chaosPlant{
	{
		name: "a tie is broken by arrival",
		file: "crdt/store.go",
		old:  "} else if e.Compare(s.entry(i)) <= 0 {",
		new:  "} else if e.Version.Time.Compare(s.entry(i).Version.Time) < 0 {",
	},
	{
		name: "an echo is stamped again",
		file: "settle.go",
		old:  "if base != 0 && base == found {\n\t\t\treturn verdictWrite",
		new:  "if base != 0 && base == found {\n\t\t\treturn verdictStamp",
	},
	{
		name: "the clock is dragged by a bad peer",
		file: "crdt/clock.go",
		old:  "if ahead := c.ahead(remote, physical); ahead > c.maxSkew {",
		new:  "if ahead := c.ahead(remote, physical); ahead > 1000*c.maxSkew {",
	},
	{
		name: "what a map held at the start is stamped as new",
		file: "mirror_scan.go",
		old:  "Version: crdt.Version{Time: m.foundTime(), Member: m.member}})",
		new:  "Version: crdt.Version{Time: m.clock.Stamp(1e9*946684800+now, crdt.Timestamp{}), Member: m.member}})",
	},
	{
		name: "a local write is not stamped above what it overwrote",
		file: "mirror.go",
		old:  "cur, _ := m.store.At(slot)\n\t\t\tafter = cur.Version.Time",
		new:  "_, _ = m.store.At(slot)",
	},
	{
		name: "a tombstone is collected too early",
		file: "deletes.go",
		old:  "floor := min(stable, told-int64(age))",
		new:  "_, floor := stable, told-int64(age)",
	},
	{
		name: "an emptied replaced map is believed",
		file: "restart.go",
		old:  "same := b.kernel != nil && was.ID == b.shape.ID && was.Boot != \"\"",
		new:  "same := b.kernel != nil && was.Boot != \"\"",
	},
	{
		name: "a scan overlooks what is missing",
		file: "mirror_scan.go",
		old:  "return r.active() < began",
		new:  "return false && r.active() < began",
	},
}

// TestChaosPlanted: each plant can be planted and, with MAPGOSSIP_CHAOS_PLANTED=N
// (minutes), is found within N stories, by a build with an overlay. The log says by which.
func TestChaosPlanted(t *testing.T) {
	stories := os.Getenv("MAPGOSSIP_CHAOS_PLANTED")
	for _, plant := range chaosPlants {
		t.Run(strings.ReplaceAll(plant.name, " ", "_"), func(t *testing.T) {
			text, err := os.ReadFile(plant.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), plant.old); n != 1 {
				t.Fatalf("%s has what is to be replaced %d times, want once:\n%s", plant.file, n, plant.old)
			}
			if stories != "" {
				plant.find(t, strings.Replace(string(text), plant.old, plant.new, 1), stories)
			}
		})
	}
}

func (p chaosPlant) find(t *testing.T, planted, stories string) {
	dir := t.TempDir()
	original, err := filepath.Abs(p.file)
	if err != nil {
		t.Fatal(err)
	}
	replacement := filepath.Join(dir, "planted.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{replacement: []byte(planted), filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	test := exec.Command("go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-run", "^TestChaos$", "-count=1", ".")
	test.Env = append(os.Environ(), "MAPGOSSIP_CHAOS="+stories, "MAPGOSSIP_CHAOS_PLANTED=", "MAPGOSSIP_CHAOS_SEED=")
	out, err := test.CombinedOutput()
	found := regexp.MustCompile(`seed \d+: .*`).Find(out)
	if err == nil || found == nil {
		t.Fatalf("not found in %s stories: %v\n%s", stories, err, out)
	}
	t.Logf("%s", found)
}
