//go:build page

package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip"
)

func screens() []screen {
	return []screen{{"desktop-light", 1280, 900, "light"}, {"desktop-dark", 1280, 900, "dark"}, {"phone-light", 360, 740, "light"}, {"phone-dark", 360, 740, "dark"}}
}

// oneLine is JSON, which is JavaScript too.
func oneLine(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// sickFake is an agent with every trouble at once.
func sickFake() *agentFake {
	s := fixture()
	a := &agentFake{status: s, held: make(map[string][]mapgossip.Held)}
	digests := map[string][2]string{"lb-1": {s.Maps[0].Digest, s.Maps[1].Digest}, "lb-2": {s.Maps[0].Digest, s.Maps[1].Digest}, "lb-3": {"998877", "665544"}, "lb-4": {s.Maps[0].Digest, "0123456789"}}
	for _, node := range []string{"lb-1", "lb-2", "lb-3", "lb-4", "lb-7"} {
		v := mapgossip.View{Node: node, Self: node == "lb-1"}
		if node == "lb-7" {
			v.Error = "no answer within 3 s"
			a.views = append(a.views, v)
			continue
		}
		for i, m := range s.Maps {
			v.Maps = append(v.Maps, mapgossip.MapView{Name: m.Name, Digest: digests[node][i], Entries: m.Entries})
		}
		for _, m := range s.Members {
			if m.Node != node {
				equal := m.State == "alive" && digests[node] == digests[m.Node]
				v.Members = append(v.Members, mapgossip.MemberView{Node: m.Node, State: m.State, InSync: equal, LastSync: present().Add(-3 * time.Second)})
			}
		}
		a.views = append(a.views, v)
	}
	newest, other, gone := entryOf("lb-2", "0102", 3*time.Second), entryOf("lb-2", "0102", 3*time.Second), entryOf("lb-4", "", 40*time.Second)
	other.Kernel = &mapgossip.KernelValue{Present: true, Value: "ffff", ValueText: "{packets: 65535}"}
	gone.Deleted, gone.ValueText, gone.Kernel = true, "", &mapgossip.KernelValue{}
	a.held["flows/dport=443,saddr=10.0.0.1"] = []mapgossip.Held{
		{Node: "lb-1", Self: true, Entry: &newest}, {Node: "lb-2", Entry: &other}, {Node: "lb-3"}, {Node: "lb-4", Entry: &gone}, {Node: "lb-7", Error: "no answer within 3 s"},
	}
	a.held["flows/0a000001"] = []mapgossip.Held{{Node: "lb-1", Self: true, Entry: &newest}, {Node: "lb-2", Entry: &newest}}
	a.follow = []mapgossip.Change{{Entry: gone, Origin: mapgossip.OriginRemote, From: "lb-2", LagMS: 3.25, Lost: 7}}
	for _, w := range []*mapgossip.Writer{
		{Source: "syscall", PID: 4711, Process: "bpftool", CPU: 3}, {Source: "interrupt", PID: 12, Process: "ksoftirqd/0", CPU: 0}, {Source: "program", PID: 815, Process: "nginx", CPU: 1}, nil,
	} {
		a.follow = append(a.follow, mapgossip.Change{Entry: entryOf("lb-1", "0102", time.Second), Origin: mapgossip.OriginLocal, Writer: w})
	}
	return a
}

// entryOf is what a node wrote of one key some time ago, and what is in the kernel map.
func entryOf(node, value string, before time.Duration) mapgossip.Entry {
	return mapgossip.Entry{Map: "flows", Key: "0a000001", KeyText: "{saddr: 10.0.0.1, dport: 443}", Value: value, ValueText: fmt.Sprintf("{packets: %s}", value), Node: node, Time: present().Add(-before),
		Kernel: &mapgossip.KernelValue{Present: true, Value: value}}
}

// wellFake is an agent that all is well with.
func wellFake() *agentFake {
	a := &agentFake{status: healthyFixture()}
	a.status.Encrypted = true
	for node, other := range map[string]string{"lb-1": "lb-2", "lb-2": "lb-1"} {
		a.views = append(a.views, mapgossip.View{Node: node, Self: node == "lb-1",
			Maps:    []mapgossip.MapView{{Name: "flows", Digest: a.status.Maps[0].Digest}},
			Members: []mapgossip.MemberView{{Node: other, State: "alive", InSync: true, LastSync: present()}}})
	}
	return a
}
