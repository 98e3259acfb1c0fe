package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// scripts tie the completion of shells to completeWord.
//
//go:embed completion/*
var scripts embed.FS

const (
	// completeWord is what the scripts call this program with: then come the words
	// up to the cursor, the last of which may be empty.
	completeWord = "__complete"
	// completeFiles stands for names of files, which the shell knows best.
	completeFiles = ":files"
	// completeTimeout is what someone at a prompt waits for an agent.
	completeTimeout = time.Second
)

// runCompletion prints the script for a shell.
func runCompletion(_ context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("completion")
	if err := s.parse(args, env); err != nil {
		return err
	}
	text, err := scripts.ReadFile("completion/" + strings.ReplaceAll(s.Arg(0), "/", ""))
	if err != nil {
		return usage(fmt.Errorf("completion for %q: there is one for bash, zsh and fish", s.Arg(0)))
	}
	_, err = stdout.Write(text)
	return err
}

// complete prints what the last of words can become, one a line. What it cannot
// find out it leaves out.
func complete(ctx context.Context, words []string, env environment, stdout io.Writer) error {
	if len(words) == 0 {
		words = []string{""}
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	prefix := "" // of a candidate, which the shell takes for a part of the word
	if flag, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(flag, "--") {
		before, word, prefix = append(slices.Clone(before), flag), value, flag+"="
	} else if word == "=" { // bash cuts words at =
		word = ""
	} else if n := len(before); n > 1 && before[n-1] == "=" {
		before = before[:n-1]
	}
	for _, c := range candidates(ctx, before, word, env) {
		if strings.HasPrefix(c, word) || c == completeFiles {
			fmt.Fprintln(stdout, prefix+c)
		}
	}
	return nil
}

// candidates are what can come after the words before.
func candidates(ctx context.Context, before []string, word string, env environment) []string {
	known := []string{"help"}
	for _, c := range commands() {
		known = append(known, c.name)
	}
	switch {
	case len(before) == 0 && strings.HasPrefix(word, "-"):
		return []string{"--help", "--version"}
	case len(before) == 0, before[0] == "help":
		return known
	case !slices.Contains(known, before[0]):
		return nil
	}
	s := settingsOf(before[0])
	before = before[1:]
	if n := len(before); n > 0 {
		if f := flagOf(s, before[n-1]); f != nil && f.Value.Type() != "bool" {
			return flagValues(f.Name)
		}
	}
	if strings.HasPrefix(word, "-") {
		flags := []string{"--help"}
		s.VisitAll(func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) })
		return flags
	}
	_ = s.parse(before, env) // that arguments are missing is no fault here
	at := endpoint{}
	if s.Lookup("http") != nil {
		at = s.agent()
	}
	if len(s.faults) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	return argumentValues(ctx, at, s.Name(), s.Args())
}

// flagOf is the flag that word is, or nil.
func flagOf(s *settings, word string) *pflag.Flag {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		return s.Lookup(name)
	}
	if len(word) == 2 && word[0] == '-' {
		return s.ShorthandLookup(word[1:])
	}
	return nil
}

func flagValues(flag string) []string {
	switch flag {
	case "output":
		return []string{"table", "json"}
	case "capture":
		return []string{"auto", "fexit", "fentry", "scan"}
	case "log-level":
		return []string{"debug", "info", "warn", "error"}
	case "log-format":
		return []string{"text", "json"}
	case "map", "keyring", "state-dir", "capture-pins":
		return []string{completeFiles}
	}
	return nil
}

// argumentValues are what can come after these arguments of a command; names of
// maps and members are the agent's.
func argumentValues(ctx context.Context, at endpoint, command string, arguments []string) []string {
	n := len(arguments)
	switch {
	case command == "completion" && n == 0:
		return []string{"bash", "zsh", "fish"}
	case command == "keys" && n == 0:
		return []string{"list", "install", "use", "remove"}
	case command == "keys" && n == 1 && arguments[0] == "install":
		return []string{completeFiles}
	case command == "keys" && n == 1 && (arguments[0] == "use" || arguments[0] == "remove"):
		return fingerprints(ctx, at)
	case command == "watch" && n == 0:
		return append(mapNames(ctx, at), completeFiles)
	case n == 0 && (command == "get" || command == "dump" || command == "diff" || command == "scan"):
		return mapNames(ctx, at)
	case command == "diff" && n == 1, command == "remove" && n == 0:
		return memberNames(ctx, at)
	}
	return nil
}

func mapNames(ctx context.Context, at endpoint) (names []string) {
	var a mapsAnswer
	if r, err := ask(ctx, at, "/debug/maps"); err == nil && decode(r.body, &a) == nil {
		for _, m := range a.Maps {
			names = append(names, m.Name)
		}
	}
	return names
}

func memberNames(ctx context.Context, at endpoint) (names []string) {
	var a membersAnswer
	if r, err := ask(ctx, at, "/debug/members"); err == nil && decode(r.body, &a) == nil {
		for _, m := range a.Members {
			if !m.Self {
				names = append(names, m.Node)
			}
		}
	}
	return names
}

func fingerprints(ctx context.Context, at endpoint) (prints []string) {
	var a keysReply
	if r, err := ask(ctx, at, "/debug/keys"); err == nil && decode(r.body, &a) == nil {
		for _, m := range a.Members {
			prints = append(prints, m.Keys...)
		}
	}
	slices.Sort(prints)
	return slices.Compact(prints)
}
