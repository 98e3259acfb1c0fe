package mapgossip

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// chaosFeatures says what stories may ask for. What is off is a limit that the
// README names.
var chaosFeatures = struct {
	disks      bool // state directories
	collection bool // of tombstones
	timekeeper bool // a member whose clock is beyond the bound does not stamp with it
	remove     bool // members are removed by command
}{
	disks:      true,
	collection: true,
	timekeeper: true,
	remove:     true,
}

// TestChaos tells stories of clusters to which everything happens (see
// chaosVerbs) and then ends, and holds the rules of chaosHistory and differ.
//
// MAPGOSSIP_CHAOS=N tells N stories, MAPGOSSIP_CHAOS=M-N those of seeds M to
// N-1, and MAPGOSSIP_CHAOS_SEED=S that one, with its log. The first story that
// breaks a rule ends the test; it is shortened for a while, and printed as a
// transcript: put it into testdata/chaos, where TestChaosTranscripts finds it.
func TestChaos(t *testing.T) {
	if text := os.Getenv("MAPGOSSIP_CHAOS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("MAPGOSSIP_CHAOS_SEED=%q: %v", text, err)
		}
		replayChaos(t, drawChaosStory(seed))
		return
	}
	first, end := chaosSeeds(t)
	var next atomic.Uint64
	next.Store(first)
	var failed atomic.Bool
	for range runtime.GOMAXPROCS(0) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for seed := next.Add(1) - 1; seed < end && !failed.Load(); seed = next.Add(1) - 1 {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					story := drawChaosStory(seed)
					if _, err := chaosBubble(t, story, false); err != nil && failed.CompareAndSwap(false, true) {
						reportChaos(t, story, err)
					}
				})
			}
		})
	}
}

// chaosSeeds are the seeds to tell: from first to end-1.
func chaosSeeds(t *testing.T) (first, end uint64) {
	text := os.Getenv("MAPGOSSIP_CHAOS")
	if text == "" {
		if long() {
			return 0, 200 / fewer
		}
		return 0, 20 / fewer
	}
	from, to, both := strings.Cut(text, "-")
	if !both {
		from, to = "0", from
	}
	first, err := strconv.ParseUint(from, 10, 64)
	end, err2 := strconv.ParseUint(to, 10, 64)
	if err != nil || err2 != nil || end <= first {
		t.Fatalf("MAPGOSSIP_CHAOS=%q: want a number of stories, or FIRST-END", text)
	}
	return first, end
}

// TestChaosTranscripts tells the stories that once went wrong.
func TestChaosTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/chaos/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			story, err := parseChaosStory(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if os.Getenv("MAPGOSSIP_CHAOS_SEED") != "" {
				replayChaos(t, story)
			} else if _, err := chaosBubble(t, story, false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestChaosTranscript: a story is the same after it was written and read.
func TestChaosTranscript(t *testing.T) {
	for seed := range uint64(50) {
		story := drawChaosStory(seed)
		again, err := parseChaosStory(story.String())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != story.String() {
			t.Fatalf("seed %d: read\n%s\nwrote\n%s", seed, again, story)
		}
	}
}

// chaosBubble tells one story in virtual time.
func chaosBubble(t *testing.T, story chaosStory, loud bool) (took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		log, told := slog.New(slog.DiscardHandler), func(string, ...any) {}
		if loud {
			log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
			told = t.Logf
		}
		took, err = tellChaos(story, log, told)
	})
	return took, err
}

func replayChaos(t *testing.T, story chaosStory) {
	t.Logf("\n%s", story)
	began := time.Now()
	took, err := chaosBubble(t, story, true)
	t.Logf("equal %v after all was well; %v real", took, time.Since(began).Round(time.Millisecond))
	if err != nil {
		t.Error(err)
	}
}

func reportChaos(t *testing.T, story chaosStory, err error) {
	short, how := shortenChaos(t, story, err)
	t.Errorf("seed %d: %v\nMAPGOSSIP_CHAOS_SEED=%d tells the whole story. Shortened to %d of %d steps:\n\n# %v\n%s",
		story.seed, err, story.seed, len(short.steps), len(story.steps), how, short)
}
