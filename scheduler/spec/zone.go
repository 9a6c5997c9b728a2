package spec

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // for machines that have none
)

// zoneNames are the names in Go's own copy of the IANA data. What a machine has differs, and so does whether case counts.
//
//go:embed zones.txt
var zoneNames string

// zones are those that were asked for: time.LoadLocation reads its data each time, and a scheduler asks at each run. There are no more than
// there are names.
var zones sync.Map

// Zone returns the zone of an IANA name.
func Zone(name string) (*time.Location, error) {
	if z, known := zones.Load(name); known {
		return z.(*time.Location), nil //nolint:errcheck,forcetypeassert // nothing else is stored
	}
	names := strings.Fields(zoneNames)
	if !slices.Contains(names, name) {
		return nil, wrong("timezone", "unknown time zone %q; use an IANA name such as Europe/Berlin%s", name, didYouMean(name, names))
	}
	z, err := time.LoadLocation(name)
	if err == nil {
		zones.Store(name, z)
	}
	return z, err
}
