package raceproc

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTimersAtOnce dies at once under the race detector with two processors.
func TestTimersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 50 {
			go func() {
				for range 500 {
					timer := time.NewTimer(time.Duration(i%3) * time.Millisecond)
					other := time.AfterFunc(time.Millisecond, func() {})
					select {
					case <-timer.C:
					case <-time.After(time.Millisecond):
					}
					timer.Reset(0)
					<-timer.C
					other.Stop()
				}
			}()
		}
		time.Sleep(time.Minute)
	})
}
