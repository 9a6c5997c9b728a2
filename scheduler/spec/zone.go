package spec

import (
	_ "embed"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for machines that have none
)

// zoneNames are the names in Go's own copy of the IANA data. What a machine has differs, and so does whether case counts.
//
//go:embed zones.txt
var zoneNames string

// Zone returns the zone of an IANA name.
func Zone(name string) (*time.Location, error) {
	names := strings.Fields(zoneNames)
	if !slices.Contains(names, name) {
		return nil, wrong("timezone", "unknown time zone %q; use an IANA name such as Europe/Berlin%s", name, didYouMean(name, names))
	}
	return time.LoadLocation(name)
}
