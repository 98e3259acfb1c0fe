package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

// running is an agent on a host.
type running struct {
	cmd *lab.Cmd
	log *stage.Log
}

// fail keeps the first error, with what the agents said.
func (d *demo) fail(err error) {
	if err == nil || d.err != nil {
		return
	}
	for host, a := range d.agents {
		err = fmt.Errorf("%w\n%s said:\n%s", err, host.Name(), a.log)
	}
	d.err = err
}

// do runs a command on a host and shows the command, not its output.
func (d *demo) do(h *lab.Host, command string) string {
	if d.err != nil {
		return ""
	}
	if !strings.HasPrefix(command, "labmap await") {
		fmt.Fprintf(d.out, "  %-6s # %s\n", h.Name(), command)
	}
	output, err := h.Do(d.ctx, strings.Fields(command)...)
	d.fail(err)
	return output
}

// show runs a command on a host and shows what it printed too.
func (d *demo) show(h *lab.Host, command string) {
	output := d.do(h, command)
	for line := range strings.Lines(output) {
		fmt.Fprintf(d.out, "           %s", line)
	}
}

// run starts an agent on a host.
func (d *demo) run(h *lab.Host, command string) {
	if d.err != nil {
		return
	}
	fmt.Fprintf(d.out, "  %-6s # %s &\n", h.Name(), command)
	a := running{h.Command(d.ctx, strings.Fields(command)...), new(stage.Log)}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if d.agents == nil {
		d.agents = make(map[*lab.Host]running)
	}
	d.agents[h] = a
	d.fail(a.cmd.Start())
}

// stop ends an agent as systemd does and waits for it.
func (d *demo) stop(h *lab.Host) {
	if d.err != nil {
		return
	}
	fmt.Fprintf(d.out, "  %-6s # pkill -TERM mapgossip\n", h.Name())
	begin := time.Now()
	d.fail(d.agents[h].cmd.Signal(syscall.SIGTERM))
	if err := d.agents[h].cmd.Wait(); err != nil {
		d.fail(err)
		return
	}
	fmt.Fprintf(d.out, "           its agent exited with code 0 after %.1f s\n", time.Since(begin).Seconds())
}

// ready waits until an agent says that its maps hold what the cluster knows.
func (d *demo) ready(h *lab.Host) {
	client := h.HTTPClient()
	for begin := time.Now(); d.err == nil; {
		response, err := client.Get("http://127.0.0.1:7947/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				d.capture(h, client)
				return
			}
		}
		select {
		case <-d.agents[h].cmd.Done():
			d.fail(fmt.Errorf("the agent on %s ended: %w", h.Name(), d.agents[h].cmd.Wait()))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(begin) > time.Minute {
			d.fail(fmt.Errorf("the agent on %s is not ready after a minute", h.Name()))
		}
	}
}

// capture tells how an agent captures.
func (d *demo) capture(h *lab.Host, client *http.Client) {
	var answer struct {
		Maps []struct{ Capture string }
	}
	response, err := client.Get("http://127.0.0.1:7947/debug/maps")
	if err == nil {
		defer response.Body.Close()
		err = json.NewDecoder(response.Body).Decode(&answer)
	}
	if d.fail(err); err == nil && len(answer.Maps) > 0 {
		fmt.Fprintf(d.out, "           ready, capture by %s\n", answer.Maps[0].Capture)
	}
}

// waiting is a process on a host that ends when its kernel map is as it should be.
type waiting struct {
	host *lab.Host
	cmd  *lab.Cmd
	seen chan time.Time
}

// await starts command on hosts, where it polls the kernel's map.
func (d *demo) await(hosts []*lab.Host, command string) []waiting {
	var waits []waiting
	for _, h := range hosts {
		if d.err != nil {
			return nil
		}
		w := waiting{h, h.Command(d.ctx, strings.Fields(command)...), make(chan time.Time, 1)}
		d.fail(w.cmd.Start())
		go func() {
			<-w.cmd.Done()
			w.seen <- time.Now()
		}()
		waits = append(waits, w)
	}
	return waits
}

// report tells when each host saw the change, after the writer had ended.
func (d *demo) report(written time.Time, waits []waiting) {
	for _, w := range waits {
		if d.err != nil {
			return
		}
		seen := <-w.seen
		if err := w.cmd.Wait(); err != nil {
			d.fail(err)
			return
		}
		fmt.Fprintf(d.out, "  %-6s in its kernel map after %d ms\n", w.host.Name(), max(0, seen.Sub(written).Milliseconds()))
	}
}

// spread runs a command that changes a key and waits for the other hosts.
func (d *demo) spread(command string, h *lab.Host, key, want string) {
	var others []*lab.Host
	for _, o := range []*lab.Host{d.alpha, d.beta, d.gamma} {
		if o != h {
			others = append(others, o)
		}
	}
	waits := d.await(others, "labmap wait "+pin+" "+key+" "+want+" "+patience)
	d.do(h, command)
	d.report(time.Now(), waits)
}

// same reads all three kernel maps whole and compares.
func (d *demo) same() {
	sums := map[string][]string{}
	for _, h := range []*lab.Host{d.alpha, d.beta, d.gamma} {
		if d.err != nil {
			return
		}
		sum, err := h.Do(d.ctx, "labmap", "sum", pin)
		d.fail(err)
		sums[sum] = append(sums[sum], h.Name())
	}
	if d.err != nil {
		return
	}
	for sum, hosts := range sums {
		count, hash, _ := strings.Cut(strings.TrimSpace(sum), " ")
		fmt.Fprintf(d.out, "  %s: %s elements, checksum %.12s…\n", strings.Join(hosts, " = "), count, hash)
	}
	if len(sums) != 1 {
		d.fail(fmt.Errorf("the maps differ"))
	}
}

// squeeze takes the spaces out of bpftool's hexadecimal.
func squeeze(hex string) string { return strings.ReplaceAll(hex, " ", "") }
