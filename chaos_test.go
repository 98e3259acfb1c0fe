package mapgossip

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
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
}{collection: true, disks: true}

// TestChaos tells stories of clusters to which everything happens (see
// chaosVerbs) and then ends, and holds the rules of chaosHistory and differ.
//
// MAPGOSSIP_CHAOS=N tells N stories, MAPGOSSIP_CHAOS_SEED=S that one with its
// log. The first story that breaks a rule ends the test; it is shortened for a
// while, and printed as a transcript: put it into testdata/chaos, where
// TestChaosTranscripts finds it.
func TestChaos(t *testing.T) {
	stories := chaosStories(t)
	if seed := os.Getenv("MAPGOSSIP_CHAOS_SEED"); seed != "" {
		n, err := strconv.ParseUint(seed, 10, 64)
		if err != nil {
			t.Fatalf("MAPGOSSIP_CHAOS_SEED=%q: %v", seed, err)
		}
		replayChaos(t, drawChaosStory(n))
		return
	}
	var failed atomic.Bool
	for seed := range uint64(stories) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			if failed.Load() {
				return
			}
			story := drawChaosStory(seed)
			if _, err := chaosBubble(t, story, false); err != nil && failed.CompareAndSwap(false, true) {
				reportChaos(t, story, err)
			}
		})
	}
}

func chaosStories(t *testing.T) int {
	if text := os.Getenv("MAPGOSSIP_CHAOS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("MAPGOSSIP_CHAOS=%q: want a number of stories", text)
		}
		return n
	}
	if long() {
		return 200 / fewer
	}
	return 20 / fewer
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
	short := shortenChaos(t, story, err)
	t.Errorf("seed %d: %v\nMAPGOSSIP_CHAOS_SEED=%d tells the whole story. Shortened to %d of %d steps:\n\n# %v\n%s",
		story.seed, err, story.seed, len(short.steps), len(story.steps), err, short)
}
