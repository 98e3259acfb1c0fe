package main

import (
	"net/http"
	"testing"
)

// TestOthersLeaveRoom: whoever of another host holds all that it can get, the
// commands of this host are still answered.
func TestOthersLeaveRoom(t *testing.T) {
	l := newLoad()
	begin := func(s quota, remote string) (end func(), code int) {
		r := httptestRequest(t, http.MethodGet, "/")
		r.RemoteAddr = remote
		w := record(nil, nil)
		end = l.begin(w, r, s, "of them")
		return end, w.Code
	}
	for _, s := range []quota{l.watchers, l.streams, l.asks} {
		var ends []func()
		for {
			end, code := begin(s, "192.0.2.1:99")
			if end == nil {
				if code != http.StatusServiceUnavailable {
					t.Errorf("refused with %d", code)
				}
				break
			}
			ends = append(ends, end)
		}
		for _, remote := range []string{"127.0.0.1:99", "@"} {
			end, _ := begin(s, remote)
			if end == nil {
				t.Fatalf("%s is refused while another host has %d of %d", remote, len(ends), cap(s.all))
			}
			ends = append(ends, end)
		}
		for _, end := range ends {
			end()
		}
		if len(s.all) != 0 || len(s.others) != 0 {
			t.Errorf("%d and %d tokens are left", len(s.all), len(s.others))
		}
	}
}
