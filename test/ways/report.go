//go:build linux

package ways

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Where reports and tables are, from the root of the module.
const (
	Folder     = "test/ways/testdata"
	MatrixFile = "test/ways/KERNELS.md"
	README     = "README.md"
)

// The table in the README is between these lines.
const (
	sectionBegin = "<!-- What follows is made by make test-kernels. -->\n"
	sectionEnd   = "<!-- What precedes is made by make test-kernels. -->\n"
)

// ReadReports reads all reports below root, the root of the module.
func ReadReports(root string) ([]Report, error) {
	paths, err := filepath.Glob(filepath.Join(root, Folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var reports []Report
	for _, path := range paths {
		r, err := readReport(path)
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// ReadReport reads the report of one series; fs.ErrNotExist: there is none.
func ReadReport(root, series string) (Report, error) { return readReport(reportPath(root, series)) }

func reportPath(root, series string) string {
	return filepath.Join(root, Folder, series+".json")
}

func readReport(path string) (r Report, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read report %s: %w", path, err)
	}
	return r, nil
}

// Write writes the report, a line a cell.
func (r Report) Write(root string) error {
	path := reportPath(root, r.Series)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	cells := r.Cells
	r.Cells = nil
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(head, []byte("null}")))
	b.WriteString("[\n")
	for i, c := range cells {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteString(",\n")
		}
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// Outdated names the files below root whose tables are not those of the reports.
func Outdated(root string) (names []string, err error) {
	files, err := tables(root)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{README, MatrixFile} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if string(text) != files[name] {
			names = append(names, name)
		}
	}
	return names, nil
}

// WriteTables makes the tables of the reports below root.
func WriteTables(root string) error {
	files, err := tables(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tables returns the files that have tables, as they are to be.
func tables(root string) (map[string]string, error) {
	reports, err := ReadReports(root)
	if err != nil {
		return nil, err
	}
	readme, err := os.ReadFile(filepath.Join(root, README))
	if err != nil {
		return nil, err
	}
	before, rest, found := strings.Cut(string(readme), sectionBegin)
	_, after, ended := strings.Cut(rest, sectionEnd)
	if !found || !ended {
		return nil, fmt.Errorf("%s has no place for the table: want the lines %q and %q", README, strings.TrimSpace(sectionBegin), strings.TrimSpace(sectionEnd))
	}
	section := Markdown(reports, MatrixFile)
	return map[string]string{
		README:     before + sectionBegin + "\n" + section + "\n" + sectionEnd + after,
		MatrixFile: Matrix(reports),
	}, nil
}
