//go:build !linux

// Package boottime measures time that goes on while the process is stopped and while the machine sleeps.
package boottime

import "time"

// Now returns the time since the program started. It stands still while the machine sleeps where Go's monotonic clock does.
func Now() time.Duration { return time.Since(started) }

var started = time.Now()
