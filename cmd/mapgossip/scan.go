package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mapgossip/mapgossip"
)

// longPatience is more than an agent takes to read the largest maps.
const longPatience = longTimeout + time.Minute

// runScan makes the agent compare the kernel map with its store now.
func runScan(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("scan")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	stop := progress(stderr, onTerminal(stderr), elapsed("scanning "+s.Arg(0)))
	r, err := send(ctx, at, http.MethodPost, mapPath(s.Arg(0), "scan"), "", longPatience)
	stop()
	if err != nil {
		return err
	}
	if format == "json" {
		_, err := stdout.Write(r.body)
		return err
	}
	var report mapgossip.ScanReport
	if err := decode(r.body, &report); err != nil {
		return misread(at, err)
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
