package main

import (
	"context"
	"fmt"
	"io"

	"github.com/mapgossip/mapgossip"
)

// runScan makes the agent compare the kernel map with its store now.
func runScan(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("scan")
	if err := s.parse(args, env); err != nil {
		return err
	}
	var report mapgossip.ScanReport
	if shown, err := s.perform(ctx, mapPath(s.Arg(0), "scan"), "scanning "+s.Arg(0), &report, stdout, stderr); shown || err != nil {
		return err
	}
	writeScan(stdout, report, paletteFor(stdout, env))
	return nil
}

func writeScan(w io.Writer, r mapgossip.ScanReport, p palette) {
	fmt.Fprintf(w, "%s: %s of the kernel map compared in %s: ", r.Map, count(r.Elements, "element"), rounded(milliseconds(r.DurationMS)))
	if r.Differed == 0 {
		fmt.Fprintln(w, p.good("nothing differed"))
		return
	}
	fmt.Fprintf(w, "%s\n", p.doubt(count(int(r.Differed), "key")+" differed"))
	fmt.Fprintf(w, "  %d were changes that no hook had told of: they spread\n", r.Stamped)
	fmt.Fprintf(w, "  %d were written into the kernel map\n", r.Written)
	if rest := int64(r.Differed) - int64(r.Stamped) - int64(r.Written); rest > 0 {
		fmt.Fprintf(w, "  %d: not settled yet, or changed meanwhile\n", rest)
	}
}
