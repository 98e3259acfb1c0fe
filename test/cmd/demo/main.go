// Command demo shows three hosts with three kernels keep one eBPF hash map the
// same. It builds the agent, starts the hosts, and tells what it does: each
// line with a host's name and a # is a command that ran there. Everything that
// writes or reads a map is bpftool or an XDP program; the times are from the
// end of the command that wrote to the moment when another process on another
// host found the change in its own kernel's map.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

const (
	pin   = "/sys/fs/bpf/flows"
	agent = "mapgossip agent --map " + pin
	// patience is for emulation on a busy machine, not for what is shown.
	patience = "60s"
)

// demo is a running show.
type demo struct {
	ctx   context.Context
	out   io.Writer
	began time.Time
	alpha *lab.Host
	beta  *lab.Host
	gamma *lab.Host

	agents map[*lab.Host]running
	err    error // the first one; everything after it does nothing
}

func run(ctx context.Context, out io.Writer) error {
	d := &demo{ctx: ctx, out: out, began: time.Now()}
	folder, err := os.MkdirTemp("", "mapgossip-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	l, err := stage.Open(ctx, folder, os.Stderr, nil, stage.Host(0), stage.Host(1), stage.Host(2))
	if err != nil {
		return err
	}
	defer l.Close()
	d.alpha, d.beta, d.gamma = l.Host("alpha"), l.Host("beta"), l.Host("gamma")

	d.hosts(l)
	d.twoAgents()
	d.lateJoin()
	d.foreignWrite()
	d.packet()
	d.remove()
	d.leave()
	if d.err != nil {
		return d.err
	}
	fmt.Fprintf(out, "\nDone in %.0f s.\n", time.Since(d.began).Seconds())
	return nil
}

func (d *demo) title(format string, args ...any) {
	if d.err == nil {
		fmt.Fprintf(d.out, "\n"+format+"\n", args...)
	}
}

func (d *demo) hosts(l *lab.Lab) {
	d.title("Three hosts, each with its own kernel and an empty hash map")
	for _, h := range l.Hosts() {
		fmt.Fprintf(d.out, "  %-6s %-10s Linux %s\n", h.Name(), h.Addr(), h.Kernel())
		d.do(h, "bpftool map create "+pin+" type hash key 8 value 8 entries 65536 name flows")
	}
}

func (d *demo) twoAgents() {
	d.title("An agent on alpha, and one on beta that knows alpha's address")
	d.run(d.alpha, agent)
	d.run(d.beta, agent+" --join alpha")
	d.ready(d.alpha)
	d.ready(d.beta)
	d.show(d.alpha, "mapgossip status")
}

func (d *demo) lateJoin() {
	d.title("1000 keys are written on alpha before gamma has an agent")
	d.show(d.alpha, "labmap burst "+pin+" 0 1000 1")
	d.do(d.beta, "labmap await "+pin+" 1000 "+patience)
	begin := time.Now()
	d.run(d.gamma, agent+" --join alpha")
	d.do(d.gamma, "labmap await "+pin+" 1000 "+patience)
	if d.err == nil {
		fmt.Fprintf(d.out, "  gamma  has all 1000 in its kernel map %d ms after its agent was started\n", time.Since(begin).Milliseconds())
	}
	d.ready(d.gamma)
	d.same()
}

func (d *demo) foreignWrite() {
	d.title("bpftool, which knows nothing of the agent, writes on alpha")
	key, val := "aa bb cc dd 00 00 00 01", "2a 00 00 00 00 00 00 00"
	d.spread("bpftool map update pinned "+pin+" key hex "+key+" value hex "+val, d.alpha, squeeze(key), squeeze(val))
	d.show(d.gamma, "bpftool map lookup pinned "+pin+" key hex "+key)
}

func (d *demo) packet() {
	d.title("An XDP program on beta inserts a flow for each new UDP packet to port 4000")
	d.do(d.beta, "bpftool prog load /lab/flows.bpf.o /sys/fs/bpf/track_flows map name flows pinned "+pin)
	d.do(d.beta, "bpftool net attach xdpgeneric pinned /sys/fs/bpf/track_flows dev eth0")
	waits := d.await([]*lab.Host{d.alpha, d.beta, d.gamma}, "labmap await "+pin+" 1002 "+patience)
	d.do(d.alpha, "labmap send "+d.beta.Addr().String()+" 4000 1 1")
	d.report(time.Now(), waits)
	d.same()
}

func (d *demo) remove() {
	d.title("A delete on gamma")
	key := "aa bb cc dd 00 00 00 01"
	d.spread("bpftool map delete pinned "+pin+" key hex "+key, d.gamma, squeeze(key), "absent")
	d.same()
}

func (d *demo) leave() {
	d.title("beta leaves")
	d.stop(d.beta)
	d.show(d.alpha, "mapgossip members")
}
