// Package conformance holds the contracts of package mapwatch as tests. Run
// them on everything that implements mapwatch.Kernel.
package conformance

import (
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Subject is a kernel under test, and what else is needed of its host. Each test
// gets its own; whatever it holds is freed by t.Cleanup.
type Subject struct {
	Kernel mapwatch.Kernel

	// Create makes an empty map of the Type, KeyBytes, ValueBytes and
	// MaxEntries of shape, and pins it at a path of its own. An empty Type is
	// mapwatch.TypeHash.
	Create func(t *testing.T, shape mapwatch.Shape) Program

	// Refused are targets that Open refuses, each with the error that it wraps.
	Refused map[string]error

	// Pins names a new directory for Options.Pins.
	Pins func(t *testing.T) string

	// Kill ends w as kill -9 of its process would. Maps that are open may be
	// gone, too.
	Kill func(t *testing.T, w mapwatch.Watch)

	mode    mapwatch.Mode
	mapType string // of the maps that a test makes: one of mapTypes

	// hooked tells of types, once it is known, whether they can be captured in
	// this mode: to find out is slow. Shared by the tests of a Run.
	hooked map[string]bool
}

// Program is what owns a map and writes it, by system calls of a process that has
// a name, and does not know of replication.
type Program interface {
	Target() string
	Update(key, value []byte) error    // BPF_ANY
	Insert(key, value []byte) error    // BPF_NOEXIST
	Overwrite(key, value []byte) error // BPF_EXIST
	Delete(key []byte) error           // fails if the key is absent, and in an array
	Drain() error                      // BPF_MAP_LOOKUP_AND_DELETE_BATCH of everything; fails in arrays and tries
	Freeze(t *testing.T)               // for user space, for ever
	Unpin(t *testing.T)                // the target leads nowhere
	Replace(t *testing.T) Program      // the target leads to a new map of the same shape
}

type test struct {
	name  string
	run   func(t *testing.T, s Subject)
	types []string // of maps to run on, each as a test below this one; nil: not about a type
}

// Run runs all tests that apply to a Watch in that mode, which is not ModeAuto.
// open is called once a test.
func Run(t *testing.T, mode mapwatch.Mode, open func(t *testing.T) Subject) {
	tests := append(mapTests(), watchTests()...)
	if mode != mapwatch.ModeScan {
		tests = append(tests, recordTests()...)
		tests = append(tests, pinTests()...)
	}
	hooked := make(map[string]bool)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			on := func(t *testing.T, mapType string) {
				s := open(t)
				s.mode, s.mapType, s.hooked = mode, mapType, hooked
				test.run(t, s)
			}
			if test.types == nil {
				on(t, mapwatch.TypeHash)
			}
			for _, mapType := range test.types {
				t.Run(mapType, func(t *testing.T) { on(t, mapType) })
			}
		})
	}
}

// mapTests are of maps alone.
func mapTests() []test {
	all := mapTypes()
	return []test{
		{"OpenReportsShape", openReportsShape, all},
		{"OpenRefuses", openRefuses, nil},
		{"OpenByIDAndName", openByIDAndName, nil},
		{"NameMustBeTheOnlyOne", nameMustBeTheOnlyOne, nil},
		{"ReopenFollowsThePath", reopenFollowsThePath, nil},
		{"ReopenFollowsTheName", reopenFollowsTheName, nil},
		{"ReopenOfAnID", reopenOfAnID, nil},
		{"CloseIsIdempotentAndFinal", closeIsIdempotentAndFinal, nil},
		{"CloseKeepsOtherHandles", closeKeepsOtherHandles, nil},
		{"KernelCloseEndsApply", kernelCloseEndsApply, nil},
		{"NowNeverStepsBack", nowNeverStepsBack, nil},
		{"CurrentUntilUnpinned", currentUntilUnpinned, nil},
		{"CurrentUntilReplaced", currentUntilReplaced, nil},

		{"LookupCopies", lookupCopies, all},
		{"LookupIsExact", lookupIsExact, all},
		{"ApplyOfNothing", applyOfNothing, nil},
		{"ApplyKeepsOrder", applyKeepsOrder, all},
		{"ApplyFollowsTwin", applyFollowsTwin, all},
		{"ApplyDeletesAbsentKeys", applyDeletesAbsentKeys, all},
		{"ApplyChecksSizes", applyChecksSizes, all},
		{"ApplyToFullMap", applyToFullMap, []string{mapwatch.TypeHash, mapwatch.TypeLPMTrie}},
		{"ApplyToFrozenMap", applyToFrozenMap, all},
		{"ApplyFromManyGoroutines", applyFromManyGoroutines, all},
		{"ApplyEvicts", applyEvicts, []string{mapwatch.TypeLRUHash}},
		{"SizesUpToTheLimits", sizesUpToTheLimits, all},

		{"ScanOfEmptyMap", scanOfEmptyMap, all},
		{"ScanPassesEachOnce", scanPassesEachOnce, all},
		{"ScanUnderChurn", scanUnderChurn, all},
		{"ScanEnds", scanEnds, all},
		{"ScanMayUseTheMap", scanMayUseTheMap, all},

		{"ZeroIsAbsent", zeroIsAbsent, []string{mapwatch.TypeArray}},
		{"ApplyBeyondTheArray", applyBeyondTheArray, []string{mapwatch.TypeArray}},
		{"KeysAreCanonical", keysAreCanonical, []string{mapwatch.TypeLPMTrie}},
		{"PrefixesCoverOthers", prefixesCoverOthers, []string{mapwatch.TypeLPMTrie}},
	}
}

// watchTests hold in every mode.
func watchTests() []test {
	return []test{
		{"WatchNamesItsMode", watchNamesItsMode, nil},
		{"WatchRefusesMode", watchRefusesMode, nil},
		{"WatchRefusesOptions", watchRefusesOptions, nil},
		{"WatchOnlyOwnMaps", watchOnlyOwnMaps, nil},
		{"WatchOfNoMaps", watchOfNoMaps, nil},
		{"WatchOfEachType", watchOfEachType, mapTypes()},
		{"WatchCloseEndsBatches", watchCloseEndsBatches, nil},
		{"BarrierIsAnswered", barrierIsAnswered, nil},
		{"OwnAppliesDoNotComeBack", whereHooked(ownAppliesDoNotComeBack), mapTypes()},
		{"ReplaceAsksForRescan", whereHooked(replaceAsksForRescan), mapTypes()},
		{"ReplaceRefusesOtherShapes", replaceRefusesOtherShapes, nil},
		{"PinsInEveryMode", pinsInEveryMode, nil},
	}
}

// recordTests hold where hooks make records of changes.
func recordTests() []test {
	drains := []string{mapwatch.TypeHash, mapwatch.TypeLRUHash}
	return []test{
		{"ChangesAreCaptured", whereHooked(changesAreCaptured), mapTypes()},
		{"WritersAreNamed", whereHooked(writersAreNamed), mapTypes()},
		{"FailuresChangeNothing", whereHooked(failuresChangeNothing), mapTypes()},
		{"UnwatchedMapsAreSilent", whereHooked(unwatchedMapsAreSilent), mapTypes()},
		{"ManyChangesAllArrive", whereHooked(manyChangesAllArrive), mapTypes()},
		{"LargeValuesArriveOrTouch", largeValuesArriveOrTouch, nil},
		{"OverflowAsksForRescan", overflowAsksForRescan, nil},
		{"ChangesBelongToTheReceiver", changesBelongToTheReceiver, nil},
		{"EvictionsAreCaptured", whereHooked(evictionsAreCaptured), []string{mapwatch.TypeLRUHash}},
		{"DrainAsksForRescan", whereHooked(drainAsksForRescan), drains},
		{"ReplaceFollows", whereHooked(replaceFollows), mapTypes()},
	}
}

// pinTests hold where hooks can be pinned.
func pinTests() []test {
	return []test{
		{"PinsGoOn", pinsGoOn, nil},
		{"PinsRingFull", pinsRingFull, nil},
		{"PinsUnreleased", pinsUnreleased, nil},
		{"PinsKill", pinsKill, nil},
		{"PinsReplaced", pinsReplaced, nil},
		{"PinsHaveOneReader", pinsHaveOneReader, nil},
		{"PinsAppliesOfNobody", pinsAppliesOfNobody, nil},
	}
}
