package spec_test

import (
	"fmt"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

func Example() {
	s, err := spec.Parse("30 2 * * *")
	if err != nil {
		fmt.Println(err)
		return
	}
	zone, err := spec.Zone("America/New_York")
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
	for range 3 {
		run, ok := s.Next(at, zone, spec.Policy{})
		if !ok {
			break
		}
		fmt.Println(run.At.Format("2006-01-02 15:04 MST"))
		for _, note := range run.Notes {
			fmt.Println("  " + note.String())
		}
		at = run.At
	}
	// Output:
	// 2026-03-07 02:30 EST
	// 2026-03-08 03:00 EDT
	//   shifted: 2026-03-08 02:30:00 does not exist, runs at the end of the gap
	// 2026-03-09 02:30 EDT
}
