package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	progressAfter = time.Second // what is done sooner shows none
	progressEvery = 250 * time.Millisecond
	eraseLine     = "\r\x1b[K"
)

// progress shows on a terminal how far long work is: text, again and again on one
// line of w, from progressAfter on until stop is called, which takes the line
// away. Nothing where w is no terminal. text is called by another goroutine, never
// after stop.
func progress(w io.Writer, terminal bool, text func(elapsed time.Duration) string) (stop func()) {
	if !terminal {
		return func() {}
	}
	ended := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		begin := time.Now()
		next := time.NewTimer(progressAfter)
		defer next.Stop()
		for shown := false; ; shown = true {
			select {
			case <-next.C:
				fmt.Fprint(w, eraseLine+text(time.Since(begin)))
				next.Reset(progressEvery)
			case <-ended:
				if shown {
					fmt.Fprint(w, eraseLine)
				}
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		showing.Wait()
	})
}

// elapsed is progress of which nothing is known but its time.
func elapsed(doing string) func(time.Duration) string {
	return func(d time.Duration) string { return doing + ", " + rounded(d.Truncate(time.Second)) }
}

// share shows how many of a total that may be off there are.
func share(n, total int64, noun string) string {
	if total <= 0 || n > total {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d of %d %s (%d%%)", n, total, noun, n*100/total)
}
