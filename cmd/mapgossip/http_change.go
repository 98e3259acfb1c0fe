package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mapgossip/mapgossip"
)

// unhurried gives one answer more time than the server's timeouts do. What the
// request brings is read first, in the time that the server gives it; from then
// on the server has no read timeout, and tells when the client hangs up.
func unhurried(w http.ResponseWriter, r *http.Request, limit time.Duration) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	// What has no deadlines has no timeouts.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit + writeTimeout))
	return nil
}

// long gives the node longTimeout to answer.
func long(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := unhurried(w, r, longTimeout); err != nil {
			answer(w, http.StatusBadRequest, errorAnswer{err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), longTimeout)
		defer cancel()
		h(w, r.WithContext(ctx))
	}
}

func (d *desk) scan(w http.ResponseWriter, r *http.Request) {
	report, err := d.node.Scan(r.Context(), r.PathValue("name"))
	answerOr(w, report, err)
}

func (d *desk) sync(w http.ResponseWriter, r *http.Request) {
	if err := d.node.Sync(r.Context()); err != nil {
		answerOr(w, nil, err)
		return
	}
	status, err := d.node.Status(r.Context())
	answerOr(w, syncedAnswer{true, status.InSync}, err)
}

// leaveNow answers first: the agent may be gone right after.
func (d *desk) leaveNow(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, leavingAnswer{true})
	_ = http.NewResponseController(w).Flush()
	d.leave()
}

func (d *desk) remove(w http.ResponseWriter, r *http.Request) {
	member := r.PathValue("node")
	if err := d.node.Remove(r.Context(), member); err != nil {
		refuse(w, err, http.StatusConflict)
		return
	}
	answer(w, http.StatusOK, removedAnswer{member})
}

func (d *desk) installKey(w http.ResponseWriter, r *http.Request) {
	key, err := readKey(r.Body)
	if err != nil {
		answer(w, http.StatusBadRequest, errorAnswer{err.Error()})
		return
	}
	answers, err := d.node.InstallKey(r.Context(), key)
	answerKeys(w, answers, err)
}

func (d *desk) useKey(w http.ResponseWriter, r *http.Request) {
	answers, err := d.node.UseKey(r.Context(), r.PathValue("fingerprint"))
	answerKeys(w, answers, err)
}

func (d *desk) removeKey(w http.ResponseWriter, r *http.Request) {
	answers, err := d.node.RemoveKey(r.Context(), r.PathValue("fingerprint"))
	answerKeys(w, answers, err)
}

func answerKeys(w http.ResponseWriter, answers []mapgossip.MemberKeys, err error) {
	if err != nil {
		refuse(w, err, http.StatusConflict)
		return
	}
	answer(w, http.StatusOK, keysAnswer{append([]mapgossip.MemberKeys{}, answers...)})
}

// readKey reads one key in base64, with white space around it. The error never
// holds what was read.
func readKey(body io.Reader) ([]byte, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w: want base64 of one key, at most %d bytes", err, maxBodyBytes)
	}
	key, err := parseKey(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	return key, nil
}
