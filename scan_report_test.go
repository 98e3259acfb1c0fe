package mapgossip

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// TestScanReport: a scan that is asked for finds what no hook told of, waits until
// that is settled, and says what came of it.
func TestScanReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		pass(5 * time.Second)
		for i := range 1000 {
			a.write(t, i, i)
		}
		pass(time.Second)
		report, err := a.Scan(t.Context(), "flows")
		if err != nil || report.Map != "flows" || report.Elements != 1000 || report.Differed != 0 || report.Stamped != 0 || report.Written != 0 || report.DurationMS < 0 {
			t.Errorf("%+v: %v", report, err)
		}
		for i := range 300 {
			if err := a.m.Poke(number(i), number(-i-1)); err != nil {
				t.Fatal(err)
			}
		}
		a.m.Lose(50, fake.Silent)
		for i := range 50 {
			if err := a.m.Remove(number(500+i), 0); err != nil {
				t.Fatal(err)
			}
		}
		report, err = a.Scan(t.Context(), "flows")
		if err != nil || report.Elements != 950 || report.Differed != 350 || report.Stamped != 350 || report.Written != 0 {
			t.Errorf("%+v: %v", report, err)
		}
		if report.DurationMS > 1000 {
			t.Errorf("it took %f ms", report.DurationMS)
		}
		if s := a.state(t); s.Unsettled != 0 || s.Entries != 950 || s.Counters.ScanFound != 350 || s.Counters.Scans < 2 {
			t.Errorf("%+v", s)
		}
	})
}

// TestScanReportWritten: what was written over is counted, and what the kernel
// refused is not.
func TestScanReportWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{})
		c.Maps[0].Direction = DirectionReceive
		b := r.start(c, kernel, m)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		for i := range 60 {
			if err := b.m.Poke(number(i), number(-i-1)); err != nil {
				t.Fatal(err)
			}
		}
		b.m.FailApply(20, mapwatch.ErrBusy)
		report, err := b.Scan(t.Context(), "flows")
		if err != nil || report.Differed != 60 || report.Stamped != 0 || report.Written != 40 {
			t.Errorf("%+v: %v", report, err)
		}
		r.converge(t, 10*time.Second)
	})
}

// TestScanWaits: a scan that is under way ends first; those who wait share the next
// one, which rests for nobody; one who goes away leaves it to the others.
func TestScanWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, k := r.addMoody(false)
		for i := range 640 { // ten chunks
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		k.reading.Store(int64(100 * time.Millisecond))
		for scanning := false; !scanning; pass(10 * time.Millisecond) {
			if err := a.call(t.Context(), func() { scanning = a.maps[0].scanning }); err != nil {
				t.Fatal(err)
			}
		}
		before := a.state(t).Counters.Scans
		if err := a.m.Poke(number(0), number(9999)); err != nil { // the present scan may have passed it
			t.Fatal(err)
		}
		type answer struct {
			report ScanReport
			err    error
		}
		answers := make(chan answer, 3)
		impatient, leave := context.WithCancel(t.Context())
		for i := range 3 {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient
			}
			go func() {
				report, err := a.Scan(ctx, "flows")
				answers <- answer{report, err}
			}()
			synctest.Wait()
		}
		leave()
		if first := <-answers; !errors.Is(first.err, context.Canceled) {
			t.Errorf("%+v", first)
		}
		began := time.Now()
		for range 2 {
			got := <-answers
			if got.err != nil || got.report.Elements != 640 || got.report.Differed > 1 {
				t.Errorf("%+v", got)
			}
		}
		// The present one rests for three quarters of its time: 4 s. Ours takes one.
		if took := time.Since(began); took > 5500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if scans := a.state(t).Counters.Scans - before; scans != 2 {
			t.Errorf("%d scans", scans)
		}
		if e := a.entry(t, number(0)); e.Value != hexOf(9999) {
			t.Errorf("%+v", e)
		}
	})
}

// TestScanOfOverwrittenKey: a key that is never the same at two looks does not
// hold the report up.
func TestScanOfOverwrittenKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		for i := range 10 {
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		if err := a.m.Poke(number(5), number(55)); err != nil {
			t.Fatal(err)
		}
		if err := a.m.Poke(number(6), number(66)); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		quiet := make(chan struct{})
		go func() {
			defer close(quiet)
			for i := 0; ctx.Err() == nil; i++ {
				a.m.Write(number(5), number(i), 0) // each record puts the look off
				time.Sleep(500 * time.Microsecond) // synctest's clock
			}
		}()
		report, err := a.Scan(t.Context(), "flows")
		if err != nil || report.Elements != 10 || report.Stamped == 0 || report.DurationMS > 10_000 {
			t.Errorf("%+v: %v", report, err)
		}
		stop()
		<-quiet
	})
}

// TestScanFails: what keeps a scan from being done is told.
func TestScanFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, k := r.addMoody(true)
		for i := range 200 {
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		for _, name := range []string{"flow", "late"} {
			if _, err := a.Scan(t.Context(), name); !errors.Is(err, ErrUnknownMap) {
				t.Errorf("map %s: %v", name, err)
			}
		}
		k.reading.Store(int64(3 * time.Second))
		failed := make(chan error, 1)
		go func() {
			_, err := a.Scan(t.Context(), "flows")
			failed <- err
		}()
		synctest.Wait()
		a.replace(mapwatch.Shape{})
		if err := <-failed; !errors.Is(err, errReplaced) {
			t.Error(err)
		}
		k.reading.Store(0)
		pass(5 * time.Second)
		if report, err := a.Scan(t.Context(), "flows"); err != nil || report.Elements != 200 {
			t.Errorf("%+v: %v", report, err)
		}
		k.reading.Store(int64(time.Minute))
		go func() {
			_, err := a.Scan(t.Context(), "flows")
			failed <- err
		}()
		synctest.Wait()
		a.stop()
		if err := <-failed; !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}
