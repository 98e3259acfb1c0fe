//go:build race

package raceproc

import "runtime"

func init() { runtime.GOMAXPROCS(1) }
