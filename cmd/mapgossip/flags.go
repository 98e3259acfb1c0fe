package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

const defaultHTTP = "127.0.0.1:7947"

// environment holds the variables that the process was started with.
type environment map[string]string

// environmentOf reads NAME=VALUE lines as os.Environ gives them; of a name that
// comes twice, the last counts.
func environmentOf(lines []string) environment {
	env := make(environment)
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	return env
}

// settings are the flags of one command, with the environment behind them. All
// flags are texts or lists of texts, but for switches, so that their faults are
// found in one place and told all at once.
type settings struct {
	*pflag.FlagSet
	fromEnv map[string]bool // flags whose value is the environment's
	wants   []string        // what the arguments are called, all of them needed
	more    bool            // the command looks at its arguments itself
	faults  []error
}

// settingsOf defines the flags of a command. Their help is in help/COMMAND.txt.
func settingsOf(command string) *settings {
	s := &settings{FlagSet: pflag.NewFlagSet(command, pflag.ContinueOnError), fromEnv: make(map[string]bool)}
	s.SetOutput(io.Discard)
	s.Usage = func() {}
	switch command {
	case "agent":
		s.StringArray("map", nil, "")
		s.StringArray("join", nil, "")
		s.String("bind", "0.0.0.0:7946", "")
		s.String("advertise", "", "")
		s.String("node", "", "")
		s.String("cluster", mapgossip.DefaultCluster, "")
		s.String("keyring", "", "")
		s.String("http", defaultHTTP, "")
		s.String("capture", string(mapwatch.ModeAuto), "")
		s.String("scan-interval", "", "")
		s.String("sync-interval", "10s", "")
		s.String("max-clock-skew", "5s", "")
		s.String("tombstone-min-age", "1h", "")
		s.String("forget-after", "24h", "")
		s.String("state-dir", "", "")
		s.String("capture-pins", "", "")
		s.String("log-level", "info", "")
		s.String("log-format", "text", "")
		s.Bool("check", false, "")
	case "members", "maps", "status", "sync", "leave":
		s.asks()
	case "remove":
		s.wants = []string{"NODE"}
		s.String("http", defaultHTTP, "")
	case "get":
		s.wants = []string{"NAME", "KEY"}
		s.asks()
		s.Bool("members", false, "")
	case "dump":
		s.wants = []string{"NAME"}
		s.asks()
		s.Bool("tombstones", false, "")
	case "watch":
		s.wants = []string{"NAME or TARGET"}
		s.asks()
	case "diff":
		s.wants = []string{"NAME", "MEMBER"}
		s.asks()
	case "scan":
		s.wants = []string{"NAME"}
		s.asks()
	case "keys":
		s.more = true
		s.asks()
	case "completion":
		s.wants = []string{"SHELL"}
	case "version":
		s.StringP("output", "o", "table", "")
	}
	return s
}

// asks defines the flags of a command that asks an agent.
func (s *settings) asks() {
	s.String("http", defaultHTTP, "")
	s.StringP("output", "o", "table", "")
}

// environmentName is the variable that stands for a flag.
func environmentName(flag string) string {
	return "MAPGOSSIP_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// parse reads the command line, then the environment for flags that are not on
// it. An empty variable counts as not set, but for --http, whose empty value
// has a meaning. A list is split at white space. Returns pflag.ErrHelp when
// help was asked for.
func (s *settings) parse(args []string, env environment) error {
	if err := s.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return usage(s.explain(err))
	}
	s.VisitAll(func(f *pflag.Flag) {
		value, ok := env[environmentName(f.Name)]
		if !ok || f.Changed || (value == "" && f.Name != "http") {
			return
		}
		s.fromEnv[f.Name] = true
		list := []string{value}
		if f.Value.Type() == "stringArray" {
			list = strings.Fields(value)
		}
		for _, item := range list {
			if err := s.Set(f.Name, item); err != nil {
				s.fault(f.Name, item, "want true or false")
			}
		}
	})
	return usage(s.argumentsFit())
}

func (s *settings) argumentsFit() error {
	blank := slices.Contains(s.Args(), "")
	switch fits := s.NArg() == len(s.wants) && !blank; {
	case s.more && !blank, fits:
		return nil
	case len(s.wants) == 0 && !s.more:
		return fmt.Errorf("unexpected argument %q: %s takes flags only; 'mapgossip %s --help' lists them", s.Arg(0), s.Name(), s.Name())
	case len(s.wants) == 1:
		return fmt.Errorf("%s takes one argument, %s; 'mapgossip %s --help' says which", s.Name(), s.wants[0], s.Name())
	case blank:
		return fmt.Errorf("%s: an argument is empty; 'mapgossip %s --help' says what it takes", s.Name(), s.Name())
	}
	return fmt.Errorf("%s takes %d arguments, %s; 'mapgossip %s --help' says which", s.Name(), len(s.wants), strings.Join(s.wants, " and "), s.Name())
}

// asked reads the flags of asks; the error holds all faults of the command line.
func (s *settings) asked() (at endpoint, format string, err error) {
	at = s.agent()
	format = s.oneOf("output", "table", "json")
	return at, format, usage(errors.Join(s.faults...))
}

// explain turns an error of pflag into a sentence with a way out.
func (s *settings) explain(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			word, _, _ := strings.Cut(short, "=")
			if s.Lookup(word) != nil {
				return fmt.Errorf("unknown flag -%s: long flags have two dashes: --%s", word, word)
			}
			return fmt.Errorf("unknown flag -%s: 'mapgossip %s --help' lists all", word, s.Name())
		}
		var known []string
		s.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if guess := closest(name, known); guess != "" {
			return fmt.Errorf("unknown flag --%s: did you mean --%s?", name, guess)
		}
		return fmt.Errorf("unknown flag --%s: 'mapgossip %s --help' lists all", name, s.Name())
	case errors.As(err, &missing):
		f := missing.GetFlag()
		return fmt.Errorf("--%s: needs a value; 'mapgossip %s --help' says which", f.Name, s.Name())
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s %q: want true or false", invalid.GetFlag().Name, invalid.GetValue())
	}
	return err
}

// fault notes what is wrong with the value of a flag, or of its variable.
func (s *settings) fault(flag, value, format string, args ...any) {
	source := "--" + flag
	if s.fromEnv[flag] {
		source = environmentName(flag)
	}
	s.faults = append(s.faults, fmt.Errorf("%s %q: %w", source, value, fmt.Errorf(format, args...)))
}

// text returns the value of a flag that is defined as a string.
func (s *settings) text(flag string) string { return s.Lookup(flag).Value.String() }

// list returns the values of a repeatable flag.
func (s *settings) list(flag string) []string {
	return s.Lookup(flag).Value.(pflag.SliceValue).GetSlice()
}

// duration reads a positive duration; whichever way it is wrong, fallback.
func (s *settings) duration(flag string, fallback time.Duration) time.Duration {
	text := s.text(flag)
	if text == "" {
		return fallback
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		s.fault(flag, text, "want a duration above zero with its unit, such as 500ms, 10s or 2m")
		return fallback
	}
	return d
}

// oneOf reads a word; whichever is not a choice, the default.
func (s *settings) oneOf(flag string, choices ...string) string {
	text := s.text(flag)
	for _, c := range choices {
		if text == c {
			return text
		}
	}
	last := len(choices) - 1
	s.fault(flag, text, "want %s or %s", strings.Join(choices[:last], ", "), choices[last])
	return s.Lookup(flag).DefValue
}
