package mapgossip

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// chaosPatience is how long a story is shortened.
const chaosPatience = 30 * time.Second

// shortenChaos leaves out what is not needed for the story to break the same
// rule, as long as its patience lasts. It returns how the short one breaks it, too.
func shortenChaos(t *testing.T, story chaosStory, broken error) (chaosStory, error) {
	rule, _, _ := strings.Cut(broken.Error(), ":")
	end := time.Now().Add(chaosPatience)
	breaks := func(s chaosStory) bool {
		for range 2 { // goroutines are not in the story
			if time.Now().After(end) {
				return false
			}
			if _, err := chaosBubble(t, s, false); err != nil && strings.HasPrefix(err.Error(), rule+":") {
				broken = err
				return true
			}
		}
		return false
	}
	for size := max(1, len(story.steps)/2); ; {
		shorter := false
		for from := 0; from < len(story.steps); {
			s := story
			s.steps = slices.Delete(slices.Clone(story.steps), from, min(from+size, len(story.steps)))
			if breaks(s) {
				story, shorter = s, true
			} else {
				from += size
			}
		}
		if size == 1 && !shorter || time.Now().After(end) {
			break
		}
		size = max(1, size/2)
	}
	for i := range story.steps { // fewer operations
		for story.steps[i].verb == "burst" && story.steps[i].args[1] > 1 {
			s := story
			s.steps = slices.Clone(story.steps)
			s.steps[i].args = slices.Clone(s.steps[i].args)
			s.steps[i].args[1] /= 2
			if !breaks(s) {
				break
			}
			story = s
		}
	}
	return story, broken
}
