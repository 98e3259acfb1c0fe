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

	// Create makes an empty hash map of the KeyBytes, ValueBytes and
	// MaxEntries of shape, and pins it at a path of its own.
	Create func(t *testing.T, shape mapwatch.Shape) Program

	// Refused are targets that Open refuses, each with the error that it wraps.
	Refused map[string]error

	// Pins names a new directory for Options.Pins.
	Pins func(t *testing.T) string

	// Kill ends w as kill -9 of its process would. Maps that are open may be
	// gone, too.
	Kill func(t *testing.T, w mapwatch.Watch)

	mode mapwatch.Mode
}

// Program is what owns a map and writes it, and does not know of replication.
type Program interface {
	Target() string
	Update(key, value []byte) error    // BPF_ANY
	Insert(key, value []byte) error    // BPF_NOEXIST
	Overwrite(key, value []byte) error // BPF_EXIST
	Delete(key []byte) error           // fails if the key is absent
	Freeze(t *testing.T)               // for user space, for ever
	Unpin(t *testing.T)                // the target leads nowhere
	Replace(t *testing.T) Program      // the target leads to a new map of the same shape
}

type test struct {
	name string
	run  func(t *testing.T, s Subject)
}

// Run runs all tests that apply to a Watch in that mode, which is not ModeAuto.
// open is called once a test.
func Run(t *testing.T, mode mapwatch.Mode, open func(t *testing.T) Subject) {
	tests := mapTests()
	if mode != mapwatch.ModeScan {
		tests = append(tests, recordTests()...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			s.mode = mode
			test.run(t, s)
		})
	}
}

// mapTests hold in every mode.
func mapTests() []test {
	return []test{
		{"OpenReportsShape", openReportsShape},
		{"OpenRefuses", openRefuses},
		{"OpenByIDAndName", openByIDAndName},
		{"NameMustBeTheOnlyOne", nameMustBeTheOnlyOne},
		{"CloseIsIdempotentAndFinal", closeIsIdempotentAndFinal},
		{"CloseKeepsOtherHandles", closeKeepsOtherHandles},
		{"KernelCloseEndsApply", kernelCloseEndsApply},
		{"NowNeverStepsBack", nowNeverStepsBack},
		{"CurrentUntilUnpinned", currentUntilUnpinned},
		{"CurrentUntilReplaced", currentUntilReplaced},

		{"LookupCopies", lookupCopies},
		{"ApplyOfNothing", applyOfNothing},
		{"ApplyKeepsOrder", applyKeepsOrder},
		{"ApplyFollowsTwin", applyFollowsTwin},
		{"ApplyDeletesAbsentKeys", applyDeletesAbsentKeys},
		{"ApplyChecksSizes", applyChecksSizes},
		{"ApplyToFullMap", applyToFullMap},
		{"ApplyToFrozenMap", applyToFrozenMap},
		{"ApplyFromManyGoroutines", applyFromManyGoroutines},
		{"SizesUpToTheLimits", sizesUpToTheLimits},

		{"ScanOfEmptyMap", scanOfEmptyMap},
		{"ScanPassesEachOnce", scanPassesEachOnce},
		{"ScanUnderChurn", scanUnderChurn},
		{"ScanEnds", scanEnds},
		{"ScanMayUseTheMap", scanMayUseTheMap},

		{"WatchNamesItsMode", watchNamesItsMode},
		{"WatchRefusesMode", watchRefusesMode},
		{"WatchRefusesOptions", watchRefusesOptions},
		{"WatchOnlyOwnMaps", watchOnlyOwnMaps},
		{"WatchOfNoMaps", watchOfNoMaps},
		{"WatchCloseEndsBatches", watchCloseEndsBatches},
		{"BarrierIsAnswered", barrierIsAnswered},
		{"OwnAppliesDoNotComeBack", ownAppliesDoNotComeBack},
		{"PinsInEveryMode", pinsInEveryMode},
	}
}

// recordTests hold where hooks make records of changes.
func recordTests() []test {
	return []test{
		{"ChangesAreCaptured", changesAreCaptured},
		{"FailuresChangeNothing", failuresChangeNothing},
		{"UnwatchedMapsAreSilent", unwatchedMapsAreSilent},
		{"ManyChangesAllArrive", manyChangesAllArrive},
		{"LargeValuesArriveOrTouch", largeValuesArriveOrTouch},
		{"OverflowAsksForRescan", overflowAsksForRescan},
		{"ChangesBelongToTheReceiver", changesBelongToTheReceiver},
		{"PinsGoOn", pinsGoOn},
		{"PinsRingFull", pinsRingFull},
		{"PinsUnreleased", pinsUnreleased},
		{"PinsKill", pinsKill},
		{"PinsReplaced", pinsReplaced},
		{"PinsHaveOneReader", pinsHaveOneReader},
		{"PinsAppliesOfNobody", pinsAppliesOfNobody},
	}
}
