package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// The answers that are no type of package mapgossip alone. Their JSON names are
// a contract.
type (
	// health answers /healthz and /readyz.
	health struct {
		OK      bool     `json:"ok"`
		Reasons []string `json:"reasons"`
	}
	membersAnswer struct {
		Members []mapgossip.Member `json:"members"`
	}
	mapsAnswer struct {
		Maps []mapgossip.MapStatus `json:"maps"`
	}
	mapAnswer struct {
		mapgossip.MapStatus
		KeyLayout   *layout.Layout `json:"key_layout"` // null: not known
		ValueLayout *layout.Layout `json:"value_layout"`
	}
	heldAnswer struct {
		Key     string           `json:"key"` // in hex
		Members []mapgossip.Held `json:"members"`
	}
	viewsAnswer struct {
		Members []mapgossip.View `json:"members"`
	}
	keysAnswer struct {
		Members []mapgossip.MemberKeys `json:"members"`
	}
	removedAnswer struct {
		Removed string `json:"removed"`
	}
	syncedAnswer struct {
		Synced bool `json:"synced"`
		InSync bool `json:"in_sync"`
	}
	leavingAnswer struct {
		Leaving bool `json:"leaving"`
	}
	errorAnswer struct {
		Error string `json:"error"`
	}
)

func answerHealth(w http.ResponseWriter, ok bool, reasons []string) {
	code := http.StatusOK
	if !ok {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, health{ok, append([]string{}, reasons...)})
}

// answerOr answers value, or why the node could not tell; 503 unless the error
// is known to be another.
func answerOr(w http.ResponseWriter, value any, err error) {
	if err != nil {
		refuse(w, err, http.StatusServiceUnavailable)
		return
	}
	answer(w, http.StatusOK, value)
}

// refuse answers an error, with this code unless the error is known to be
// another.
func refuse(w http.ResponseWriter, err error, otherwise int) {
	code := otherwise
	for _, known := range []struct {
		err  error
		code int
	}{
		{mapgossip.ErrUnknownMap, http.StatusNotFound},
		{mapgossip.ErrUnknownKey, http.StatusNotFound},
		{mapgossip.ErrUnknownMember, http.StatusNotFound},
		{mapgossip.ErrKey, http.StatusBadRequest},
		{mapgossip.ErrStopped, http.StatusServiceUnavailable},
		{context.DeadlineExceeded, http.StatusServiceUnavailable},
		{context.Canceled, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			code = known.code
			break
		}
	}
	answer(w, code, errorAnswer{sentence(err)})
}

// sentence says what an error of a context means here.
func sentence(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time: the agent, or a member that it asked, is busy; ask again"
	case errors.Is(err, context.Canceled):
		return "interrupted: the agent stops, or the request was given up"
	}
	return err.Error()
}

// tooMany answers that a bound is reached.
func tooMany(w http.ResponseWriter, what string, most int) {
	w.Header().Set("Retry-After", "5")
	answer(w, http.StatusServiceUnavailable, errorAnswer{fmt.Sprintf("%d %s at once are the most: ask again later", most, what)})
}

func answer(w http.ResponseWriter, code int, value any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil { // no value here can fail; say so if one does
		code = http.StatusInternalServerError
		text.Reset()
		fmt.Fprintf(&text, "{\"error\": %q}\n", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text.Bytes()) // a client that went away is no fault of ours
}
