package main

import (
	"fmt"
	"io"
	"strings"
)

// share is how close a figure came to what the same server did without a queue, in the same run.
type share struct {
	Scenario  string  `json:"scenario"`
	Variant   string  `json:"variant"`
	Contender string  `json:"contender"`
	Of        string  `json:"of"`
	Share     float64 `json:"share"`
}

// limitOf names the limit of a scenario. A job's way through a drain deletes and inserts elsewhere twice.
var limitOf = map[string]string{"bulk": "COPY", "drain": "DELETE and INSERT"}

// shares needs the scenario limits among the results.
func shares(results []result) []share {
	limits := map[string]float64{}
	for _, r := range results {
		if r.Scenario == "limits" {
			for _, c := range r.Comparisons {
				name, _, _ := strings.Cut(c.Variant, ",")
				limits[name] = c.Entries[0].Value.Median
			}
		}
	}
	var list []share
	for _, r := range results {
		name, ok := limitOf[r.Scenario]
		limit := 0.0
		for variant, v := range limits {
			if ok && strings.HasPrefix(variant, name) {
				limit = v
			}
		}
		if limit == 0 {
			continue
		}
		for _, c := range r.Comparisons {
			for _, e := range c.Entries {
				list = append(list, share{r.Scenario, c.Variant, e.Name, name, e.Value.Median / limit})
			}
		}
	}
	return list
}

// writeShares prints a line a variant: "drain, 1 000 slots: stem 0.48, river 0.12 of DELETE and INSERT".
func writeShares(w io.Writer, list []share) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "\nhow close to the limits of the server, measured in this run")
	for i, s := range list {
		if i == 0 || list[i-1].Variant != s.Variant || list[i-1].Scenario != s.Scenario {
			fmt.Fprintf(w, "  %s, %s:", s.Scenario, s.Variant)
		}
		fmt.Fprintf(w, " %s %s", s.Contender, short(s.Share))
		if i+1 == len(list) || list[i+1].Variant != s.Variant || list[i+1].Scenario != s.Scenario {
			fmt.Fprintf(w, " of %s\n", s.Of)
		} else {
			fmt.Fprint(w, ";")
		}
	}
}
