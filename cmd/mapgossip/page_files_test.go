package main

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestPageHandler: each file is served as what it is, under the policy, and
// nothing else is.
func TestPageHandler(t *testing.T) {
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		pageHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w
	}
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	files, err := fs.ReadDir(pageFiles, "page")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{"/": kinds[".html"]}
	for _, f := range files {
		paths["/page/"+f.Name()] = kinds[path.Ext(f.Name())]
	}
	for path, kind := range paths {
		w := ask(path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind || w.Body.Len() == 0 {
			t.Errorf("%s: %d %q, %d bytes, want a %q", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len(), kind)
		}
		if w.Header().Get("Content-Security-Policy") != pagePolicy || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no policy: %v", path, w.Header())
		}
	}
	for _, path := range []string{"/page", "/page/", "/page/none.js", "/page/../page.go", "/page.go", "//page/app.js"} {
		if w := ask("http://localhost" + path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

// TestPageFilesNameNoOtherHost: what the page is made of loads nothing from
// elsewhere, and has no way to turn text into markup or code.
func TestPageFilesNameNoOtherHost(t *testing.T) {
	bans := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write\b|createContextualFragment|DOMParser|\beval\(|new Function|style="|<script>|\son[a-z]+="|https?://`)
	err := fs.WalkDir(pageFiles, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", ""), "\n") {
			if found := bans.FindString(line); found != "" {
				t.Errorf("%s:%d has %q", name, i+1, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
