package main

import (
	"embed"
	"strings"
)

// pages are the manual. A test holds them to the flags that there are.
//
//go:embed help/*.txt
var pages embed.FS

// helpPage returns the page of a command, or of the whole for "", or "" for an
// unknown one.
func helpPage(topic string) string {
	file := topic
	switch topic {
	case "", "help":
		file = "mapgossip"
	}
	text, err := pages.ReadFile("help/" + strings.ReplaceAll(file, "/", "") + ".txt")
	if err != nil {
		return ""
	}
	return string(text)
}
