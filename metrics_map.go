package mapgossip

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// mapFamily is a family with a series a map, told by the owner.
func mapFamily(kind prometheus.ValueType, name, help string, value func(o *observed, m MapStatus) float64) family {
	return ofOwner(newFamily(kind, name, help, []string{labelMap}, func(o *observed, one series) {
		for _, m := range o.status.Maps {
			one(value(o, m), m.Name)
		}
	}))
}

// mapCounter is a family of one of the Counters.
func mapCounter(name, help string, count func(c Counters) uint64) family {
	return mapFamily(prometheus.CounterValue, name, help, func(_ *observed, m MapStatus) float64 { return float64(count(m.Counters)) })
}

// mapFamilies say what the maps hold.
func mapFamilies() []family {
	gauge := func(name, help string, value func(m MapStatus) float64) family {
		return mapFamily(prometheus.GaugeValue, name, help, func(_ *observed, m MapStatus) float64 { return value(m) })
	}
	return []family{
		ofOwner(newFamily(prometheus.GaugeValue, "map_info", "1; how the map is replicated is in the labels.", []string{labelMap, "type", "capture", labelDirection},
			func(o *observed, one series) {
				for _, m := range o.status.Maps {
					one(1, m.Name, m.Type, m.Capture, string(m.Direction))
				}
			})),
		gauge("map_bound", "1 if the kernel map is there and was read.",
			func(m MapStatus) float64 { return truth(m.Bound) }),
		gauge("map_error", "1 if something is wrong with the map (mapgossip maps says what).",
			func(m MapStatus) float64 { return truth(m.Error != "") }),
		gauge("map_entries", "Entries that this member knows, without tombstones.",
			func(m MapStatus) float64 { return float64(m.Entries) }),
		gauge("map_max_entries", "Entries that the kernel map can hold.",
			func(m MapStatus) float64 { return float64(m.MaxEntries) }),
		gauge("map_tombstones", "Deletes that this member remembers.",
			func(m MapStatus) float64 { return float64(m.Tombstones) }),
		gauge("map_tombstones_held_back", "1 if deletes are remembered longer than needs be because a member, or a seed, is waited for.",
			func(m MapStatus) float64 { return truth(m.HeldBackBy != "") }),
		gauge("map_pending_apply", "Entries that the kernel map should hold and does not: on their way, or refused because it is full or frozen.",
			func(m MapStatus) float64 { return float64(m.PendingApply) }),
		gauge("map_evicted", "Entries that the kernel let go of to make room (LRU) and that are not written here again.",
			func(m MapStatus) float64 { return float64(m.Evicted) }),
		gauge("map_unsettled", "Keys that are being looked at because the order of their changes is in doubt.",
			func(m MapStatus) float64 { return float64(m.Unsettled) }),
		mapFamily(prometheus.GaugeValue, "last_scan_seconds", "Time since the kernel map was last compared as a whole; +Inf: never yet.",
			func(o *observed, m MapStatus) float64 { return age(m.LastScan, o.now) }),
		ofOwner(newFamily(prometheus.GaugeValue, "map_room_waiting", "Entries that the other member's kernel map had no room for, as it told last.", []string{labelMap, labelMember},
			func(o *observed, one series) {
				for _, m := range o.status.Maps {
					for _, other := range o.members {
						waiting := 0
						if i := slices.IndexFunc(other.Room, func(r Room) bool { return r.Map == m.Name }); i >= 0 {
							waiting = other.Room[i].Waiting
						}
						one(float64(waiting), m.Name, other.Node)
					}
				}
			})),
		ofOwner(newFamily(prometheus.CounterValue, "differences_found_total", "Comparisons with another member that found the map to differ.", []string{labelMap},
			func(o *observed, one series) {
				for _, m := range o.status.Maps {
					one(float64(o.network.Differences[m.Name]), m.Name)
				}
			})),
	}
}

// captureFamilies say what came from the kernel.
func captureFamilies() []family {
	return []family{
		mapCounter("captured_total", "Records of local changes.",
			func(c Counters) uint64 { return c.Captured }),
		mapCounter("capture_own_total", "Writes of this agent, recognised in the kernel and not taken for local changes.",
			func(c Counters) uint64 { return c.Own }),
		mapCounter("capture_failed_total", "Operations of others on the map that failed and changed nothing.",
			func(c Counters) uint64 { return c.Failed }),
		mapCounter("capture_dropped_total", "Records lost because the ring buffer was full; a scan finds the changes.",
			func(c Counters) uint64 { return c.Dropped }),
		mapCounter("capture_missed_total", "Changes that no hook saw because the kernel skipped it, all maps of that type on the host together; a scan finds them.",
			func(c Counters) uint64 { return c.Missed }),
		mapCounter("capture_caught_total", "Of captured: by the second program of a hook, because the first was skipped.",
			func(c Counters) uint64 { return c.Caught }),
		mapCounter("local_changes_total", "Local changes that became entries.",
			func(c Counters) uint64 { return c.Local }),
		mapCounter("echoes_total", "Writes of this agent that came back as records and were recognised by their content.",
			func(c Counters) uint64 { return c.Echoes }),
		mapCounter("scans_total", "Comparisons of the whole kernel map.",
			func(c Counters) uint64 { return c.Scans }),
		mapCounter("scan_found_total", "Keys that a scan found to differ, and a second look too.",
			func(c Counters) uint64 { return c.ScanFound }),
		mapCounter("settled_total", "Keys that were looked at because the order of their changes was in doubt.",
			func(c Counters) uint64 { return c.Settled }),
		mapCounter("settle_writes_total", "Of settled: older writes of this agent that were written over.",
			func(c Counters) uint64 { return c.SettleWrites }),
		mapCounter("settle_stamps_total", "Of settled: local changes that no record told of.",
			func(c Counters) uint64 { return c.SettleStamps }),
		mapCounter("evictions_total", "Keys that the kernel let go of to make room (LRU).",
			func(c Counters) uint64 { return c.Evicted }),
	}
}

// applyFamilies say what came of other members' entries.
func applyFamilies() []family {
	return []family{
		mapCounter("remote_changes_total", "Entries of other members that were newer than what this one had.",
			func(c Counters) uint64 { return c.Remote }),
		mapCounter("applied_total", "Writes that the kernel took.",
			func(c Counters) uint64 { return c.Applied }),
		mapCounter("apply_errors_total", "Writes that the kernel refused; they are tried again.",
			func(c Counters) uint64 { return c.ApplyErrors }),
		mapCounter("future_times_refused_total", "Entries of other members that were put off because their time was too far ahead (--max-clock-skew).",
			func(c Counters) uint64 { return c.FutureTimes }),
		mapCounter("deleted_refused_total", "Entries of other members that were not taken because they had been deleted.",
			func(c Counters) uint64 { return c.Deleted }),
		mapCounter("tombstones_collected_total", "Deletes that all members had and that were forgotten.",
			func(c Counters) uint64 { return c.Collected }),
	}
}
