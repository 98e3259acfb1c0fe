//go:build guest

package mapwatch

import "testing"

// BenchmarkUpdate is what one update by system call costs a map that is not
// hooked, one that is not watched, and one that is.
func BenchmarkUpdate(b *testing.B) {
	h := openTestHost(b)
	m, opened := newTestMap(b, h, 13, 77, 1000)
	_, otherOpened := newTestMap(b, h, 13, 77, 1000)
	key, value := make([]byte, 13), make([]byte, 77)
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			must(b, m.Put(key, value))
		}
	})
	watched := func(b *testing.B, watch Map) {
		w, err := h.Watch([]Map{watch}, Options{Mode: ModeFexit})
		must(b, err)
		read := make(chan int)
		go func() {
			changes := 0
			for batch := range w.Batches() {
				changes += len(batch.Changes)
			}
			read <- changes
		}()
		for b.Loop() {
			must(b, m.Put(key, value))
		}
		counts := w.Counts(0)
		must(b, w.Close())
		<-read
		b.ReportMetric(float64(counts.Dropped)/float64(b.N), "dropped/op")
	}
	b.Run("unwatched", func(b *testing.B) { watched(b, otherOpened) })
	b.Run("watched", func(b *testing.B) { watched(b, opened) })
}
