//go:build !race

package mapgossip

const fewer = 1
