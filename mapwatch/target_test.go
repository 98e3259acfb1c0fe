package mapwatch_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]mapwatch.Target{
		"/sys/fs/bpf/flows":    {Path: "/sys/fs/bpf/flows"},
		"/sys//fs/./bpf/flows": {Path: "/sys/fs/bpf/flows"},
		"/x":                   {Path: "/x"},
		"/id:42":               {Path: "/id:42"},
		"id:42":                {ID: 42},
		"id:4294967295":        {ID: 4294967295},
		"name:flows":           {Name: "flows"},
		"name:.rodata_123":     {Name: ".rodata_123"},
		"name:exactly15bytes_": {Name: "exactly15bytes_"},
	} {
		got, err := mapwatch.ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		again, err := mapwatch.ParseTarget(got.String())
		if err != nil || again != want {
			t.Errorf("%q: its String %q leads to %+v, %v", text, got, again, err)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                      "absolute path",
		"flows":                 "absolute path",
		"./flows":               "absolute path",
		"ID:42":                 "absolute path",
		"/":                     "slash",
		"/sys/fs/bpf/":          "slash",
		"/sys/fs/bpf/a\x00b":    "NUL",
		"id:":                   "number",
		"id:0":                  "number",
		"id:-1":                 "number",
		"id:+1":                 "number",
		"id:0x10":               "number",
		"id:4294967296":         "number",
		"name:":                 "name",
		"name:with space":       "letters",
		"name:caf\u00e9":        "letters",
		"name:sixteen_bytes_on": "name:sixteen_bytes_o ",
	} {
		_, err := mapwatch.ParseTarget(text)
		if !errors.Is(err, mapwatch.ErrTarget) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: error is %v, want ErrTarget that says %q", text, err, why)
		}
	}
}
