package kernels

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMirror(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string // of the main archive
		also  string // of the security archive
	}{
		{"none", nil, defaultServer + "debian", defaultServer + "debian-security"},
		{"one-line", map[string]string{"sources.list": `# deb http://old.example/debian bookworm main
deb http://security.debian.org/debian-security bookworm-security main
deb [arch=amd64 signed-by=/x.gpg] https://mirror.example/pub/debian/ bookworm main
`}, "https://mirror.example/pub/debian/", "http://security.debian.org/debian-security"},
		{"deb822", map[string]string{"sources.list.d/debian.sources": `Types: deb
URIs: http://security.debian.org/debian-security
Suites: bookworm-security

Types: deb
# http://snapshot.debian.org/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm
`}, "http://mirror.example/debian", "http://security.debian.org/debian-security"},
		{"cloud image", map[string]string{"sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\nTypes: deb\nURIs: mirror+file:///etc/apt/mirrors/debian-security.list\n"},
			"mirror+file:///etc/apt/mirrors/debian.list", "mirror+file:///etc/apt/mirrors/debian-security.list"},
		{"others and discs", map[string]string{
			"sources.list":             "deb cdrom:[Debian GNU/Linux 12]/debian bookworm main\n",
			"sources.list.d/tool.list": "deb https://tool.example/apt stable main\n",
			"sources.list.d/saved.bak": "deb http://bak.example/debian bookworm main\n",
		}, defaultServer + "debian", defaultServer + "debian-security"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			for name, text := range test.files {
				path := filepath.Join(folder, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := mirror(folder, mainArchive); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := mirror(folder, securityArchive); got != test.also {
				t.Errorf("security: got %s, want %s", got, test.also)
			}
		})
	}
}
