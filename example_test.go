package mapgossip_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// Two programs embed a Node each. On a real host leave Config.Kernel nil, which
// means this host's, and name a map that is pinned; here each has a kernel in
// memory, so that the example runs anywhere.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	const pin = "/sys/fs/bpf/backends"
	host := func(name string, seeds ...string) (*mapgossip.Node, *fake.Map) {
		kernel := fake.NewKernel(nil)
		backends := kernel.AddMap(mapwatch.Shape{Target: pin, KeyBytes: 4, ValueBytes: 8, MaxEntries: 1024})
		config := mapgossip.DefaultConfig()
		config.Node = name
		config.Join = seeds
		config.Maps = []mapgossip.MapConfig{{Name: "backends", Target: pin}}
		config.Bind = netip.MustParseAddrPort("127.0.0.1:0")
		config.Kernel = kernel
		node, err := mapgossip.New(config)
		if err != nil {
			log.Fatal(err)
		}
		return node, backends
	}

	first, backends := host("lb-1")
	second, _ := host("lb-2", first.Members()[0].Addr)

	// Run blocks until its context ends; then it leaves the cluster in order.
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	for _, node := range []*mapgossip.Node{first, second} {
		go func() { ended <- node.Run(running) }()
	}
	for ready := false; !ready; time.Sleep(10 * time.Millisecond) {
		ready, _ = second.Ready(ctx)
	}

	// A program on the first host writes its map, and knows nothing of all this.
	value := binary.LittleEndian.AppendUint64(nil, 443)
	if err := backends.Write([]byte{192, 0, 2, 7}, value, 0); err != nil {
		log.Fatal(err)
	}

	// The second host's kernel has it soon after.
	for ctx.Err() == nil {
		entry, err := second.Entry(ctx, "backends", []byte{192, 0, 2, 7})
		if err == nil && entry.Kernel != nil && entry.Kernel.Present {
			fmt.Printf("key %s has the value %s, written on %s\n", entry.Key, entry.Kernel.Value, entry.Node)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// key c0000207 has the value bb01000000000000, written on lb-1
	// <nil> <nil>
}
