package gossip

import (
	"fmt"
	"testing"
)

// ring returns for each of n members the members that it tells, by number; the
// view of member i lacks the member lacks(i), -1 for none.
func ring(n int, lacks func(i int) int) [][]int {
	number := make(map[string]int, n)
	all := make([]*peer, n)
	for i := range all {
		m := meta{Node: fmt.Sprintf("n%04d", i), BootID: "b"}
		all[i] = &peer{meta: m, boot: m.name()}
		number[m.name()] = i
	}
	told := make([][]int, n)
	for i := range all {
		var peers []*peer
		for j, p := range all {
			if j != i && j != lacks(i) {
				peers = append(peers, p)
			}
		}
		for _, p := range audience(peers, all[i].boot).peers {
			told[i] = append(told[i], number[p.boot])
		}
	}
	return told
}

// reach returns how many members a rumor of member from reaches, and in how
// many hops.
func reach(told [][]int, from int) (members, hops int) {
	at := map[int]int{from: 0}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for _, to := range told[queue[0]] {
			if _, ok := at[to]; !ok {
				at[to] = at[queue[0]] + 1
				hops = max(hops, at[to])
				queue = append(queue, to)
			}
		}
	}
	return len(at), hops
}

func TestAudienceReachesAll(t *testing.T) {
	for _, n := range []int{1, 2, 32} {
		for i, told := range ring(n, func(int) int { return -1 }) {
			if len(told) != n-1 {
				t.Errorf("%d members: member %d tells %d", n, i, len(told))
			}
		}
	}
	most := 0
	for n := 33; n <= 400; n++ {
		told := ring(n, func(int) int { return -1 })
		heard := make([]int, n)
		for _, to := range told {
			for _, j := range to {
				heard[j]++
			}
		}
		for i, times := range heard {
			if times != len(successors(n)) {
				t.Fatalf("%d members: %d tell member %d, want %d", n, times, i, len(successors(n)))
			}
		}
		reached, hops := reach(told, n/3) // the ring looks the same from everywhere
		most = max(most, hops)
		if reached != n || hops > 16 {
			t.Errorf("%d members: %d reached in %d hops", n, reached, hops)
		}
	}
	_, hops := reach(ring(100, func(int) int { return -1 }), 0)
	t.Logf("100 members: successors %v, %d hops; up to 400: at most %d", successors(100), hops, most)
}

// Views that differ by a member still let a rumor reach all but a few.
func TestAudienceOfDifferentViews(t *testing.T) {
	for n := 33; n <= 400; n += 7 {
		told := ring(n, func(i int) int {
			if i%2 == 0 {
				return -1
			}
			return n / 2 // half of the members do not know this one
		})
		for from := 0; from < n; from += 5 {
			if reached, _ := reach(told, from); reached < n-2 {
				t.Fatalf("%d members: %d reached from %d", n, reached, from)
			}
		}
	}
}
