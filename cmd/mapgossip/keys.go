package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/mapgossip/mapgossip"
)

// keysReply is the answer to /debug/keys and what is below it.
type keysReply struct {
	Members []mapgossip.MemberKeys `json:"members"`
}

// runKeys shows and changes the keys that all members encrypt with.
func runKeys(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("keys")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	method, path, body, err := keysQuestion(s.Args())
	if err != nil {
		return usage(err)
	}
	r, err := send(ctx, at, method, path, body, askTimeout)
	if err != nil {
		return err
	}
	var a keysReply
	if err := decode(r.body, &a); err != nil {
		return misread(at, err)
	}
	if format == "json" {
		_, err = stdout.Write(r.body)
	} else {
		writeKeys(stdout, a.Members, method == http.MethodPost, paletteFor(stdout, env))
	}
	if method == http.MethodPost {
		err = errors.Join(err, notDone(a.Members))
	}
	return err
}

// keysQuestion is what the words after keys ask of the agent.
func keysQuestion(words []string) (method, path, body string, err error) {
	const known = "'mapgossip keys --help' says what there is"
	if len(words) == 0 {
		words = []string{"list"}
	}
	verb, rest := words[0], words[1:]
	want, ok := map[string]string{"list": "", "install": "FILE", "use": "FINGERPRINT", "remove": "FINGERPRINT"}[verb]
	switch {
	case !ok:
		if guess := closest(verb, []string{"list", "install", "use", "remove"}); guess != "" {
			return "", "", "", fmt.Errorf("keys: unknown word %q: did you mean %s?", verb, guess)
		}
		return "", "", "", fmt.Errorf("keys: unknown word %q: %s", verb, known)
	case want == "" && len(rest) > 0:
		return "", "", "", fmt.Errorf("keys %s: unexpected argument %q: %s", verb, rest[0], known)
	case want != "" && len(rest) != 1:
		return "", "", "", fmt.Errorf("keys %s takes one argument, %s; %s", verb, want, known)
	case verb == "list":
		return http.MethodGet, "/debug/keys", "", nil
	case verb == "install":
		keys, err := readKeyring(rest[0])
		if err != nil {
			return "", "", "", err
		}
		if len(keys) > 1 {
			return "", "", "", fmt.Errorf("keys install: %s has %d keys: give a file with the new one only", rest[0], len(keys))
		}
		return http.MethodPost, "/debug/keys/install", base64.StdEncoding.EncodeToString(keys[0]), nil
	}
	return http.MethodPost, "/debug/keys/" + url.PathEscape(rest[0]) + "/" + verb, "", nil
}

func writeKeys(w io.Writer, members []mapgossip.MemberKeys, changed bool, p palette) {
	t := table{p.heading("MEMBER", "ENCRYPTS WITH", "HAS TOO", "IN ITS FILE")}
	for _, m := range members {
		node := m.Node
		if m.Self {
			node += " (self)"
		}
		first, others := "-", "-"
		if len(m.Keys) > 0 {
			first = m.Keys[0]
		}
		if len(m.Keys) > 1 {
			others = strings.Join(m.Keys[1:], ", ")
		}
		kept := p.good("yes")
		switch {
		case len(m.Keys) == 0:
			kept = "-"
		case !m.Kept:
			kept = p.doubt("no")
		}
		t = append(t, []string{node, first, others, kept})
	}
	t.write(w, "")
	for _, m := range members {
		if m.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", m.Node, p.bad(m.Error))
		} else if changed && !m.Kept {
			fmt.Fprintf(w, "%s: %s\n", m.Node, p.doubt("a restart forgets the change: mend its --keyring file"))
		}
	}
}

// notDone is the error of a change that not every member made.
func notDone(members []mapgossip.MemberKeys) error {
	var names []string
	for _, m := range members {
		if m.Error != "" {
			names = append(names, m.Node)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("change keys: not done, or not known to be, on %s: mend what each says, and give the command again", strings.Join(names, ", "))
}
