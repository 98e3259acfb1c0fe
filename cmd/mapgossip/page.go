package main

import (
	"embed"
	"net/http"
	"strings"
)

// pageFiles are what a browser loads from the agent, and all that it loads but
// the answers of the other paths: nothing comes from another host.
//
//go:embed page
var pageFiles embed.FS

// pagePolicy lets a browser run, draw and ask only what comes from this agent,
// no script or style written into the page, and no other site frame it. What
// members and maps are called comes from other hosts: should markup ever get
// through, it does nothing.
const pagePolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageHandler answers / with the page for people, and /page/FILE with what the
// page loads. It knows nothing of the node: the page asks the paths that
// programs ask. It can be called concurrently.
func pageHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = "page/index.html"
		}
		text, err := pageFiles.ReadFile(name)
		if err != nil {
			answer(w, http.StatusNotFound, errorAnswer{"no such path; /index.txt lists what there is"})
			return
		}
		h := w.Header()
		h.Set("Content-Type", pageType(name))
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store") // the page and the agent that answers it are of one version
		_, _ = w.Write(text)               // a client that went away is no fault of ours
	})
}

// pageType does not ask the host's MIME tables, which say many things of .js.
func pageType(name string) string {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "html":
		return "text/html; charset=utf-8"
	case "css":
		return "text/css; charset=utf-8"
	case "js":
		return "text/javascript; charset=utf-8"
	case "svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}
