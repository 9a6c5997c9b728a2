// Package duration writes lengths of time as people do.
package duration

import (
	"strings"
	"time"
)

// Format is time.Duration's form without the zeros at its end: 5m, not 5m0s.
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
