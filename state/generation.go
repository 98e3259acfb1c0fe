package state

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

const (
	snapshotSuffix  = ".snapshot"
	journalSuffix   = ".journal"
	temporarySuffix = ".tmp"
	badSuffix       = ".bad"
)

func snapshotName(generation uint64) string {
	return strconv.FormatUint(generation, 10) + snapshotSuffix
}
func journalName(generation uint64) string {
	return strconv.FormatUint(generation, 10) + journalSuffix
}

// generation returns the number in a name that ends with suffix; not ok if it
// is no such name.
func generation(name, suffix string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil && n > 0 && digits == strconv.FormatUint(n, 10)
}

// generations returns those of the names that end with suffix, rising.
func generations(names []string, suffix string) []uint64 {
	var all []uint64
	for _, name := range names {
		if n, ok := generation(name, suffix); ok {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// removeBefore removes all generations before one. The oldest goes first, so
// that what is left after a part of it is the whole state or does not pass for
// one.
func removeBefore(dir FS, limit uint64) error {
	names, err := dir.List()
	if err != nil {
		return err
	}
	var errs []error
	snapshots, journals := generations(names, snapshotSuffix), generations(names, journalSuffix)
	all := append(slices.Clone(snapshots), journals...)
	slices.Sort(all)
	for _, n := range slices.Compact(all) {
		if n >= limit {
			break
		}
		if slices.Contains(snapshots, n) {
			errs = append(errs, removed(dir.Remove(snapshotName(n))))
		}
		if slices.Contains(journals, n) {
			errs = append(errs, removed(dir.Remove(journalName(n))))
		}
	}
	return errors.Join(append(errs, dir.SyncDir())...)
}

// setAside renames all files of the directory's state to *.bad, in place of
// older ones, and removes other *.bad.
func setAside(dir FS) error {
	names, err := dir.List()
	if err != nil {
		return err
	}
	var errs []error
	fresh := map[string]bool{}
	for _, name := range names {
		_, journal := generation(name, journalSuffix)
		_, snapshot := generation(name, snapshotSuffix)
		if journal || snapshot {
			fresh[name+badSuffix] = true
			errs = append(errs, dir.Rename(name, name+badSuffix))
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, badSuffix) && !fresh[name] {
			errs = append(errs, dir.Remove(name))
		}
	}
	return errors.Join(append(errs, dir.SyncDir())...)
}
