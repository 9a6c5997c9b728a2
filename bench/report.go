package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// headline is a scenario in short: the first comparison.
type headline struct {
	Stem     *float64 `json:"stem,omitempty"`
	Postgres *float64 `json:"postgres,omitempty"` // where the server alone is measured
	River    *float64 `json:"river,omitempty"`
	Ratio    *float64 `json:"ratio,omitempty"`
	Unit     string   `json:"unit"`
	Warnings []string `json:"warnings,omitempty"`
}

func headlines(results []result) map[string]headline {
	out := map[string]headline{}
	for _, r := range results {
		if len(r.Comparisons) == 0 {
			continue
		}
		c := r.Comparisons[0]
		h := headline{Unit: r.Unit, Warnings: c.Warnings}
		first := new(round(c.Entries[0].Value.Median))
		if c.Entries[0].Name == "postgres" {
			h.Postgres = first
		} else {
			h.Stem = first
		}
		if len(c.Entries) > 1 {
			h.Ratio = new(round(c.Ratio))
			if strings.HasPrefix(c.Entries[1].Name, "river") {
				h.River = new(round(c.Entries[1].Value.Median))
			}
		}
		out[r.Scenario] = h
	}
	return out
}

// round keeps three digits after the point.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func writeHeadlines(w io.Writer, results []result) error {
	return json.NewEncoder(w).Encode(headlines(results))
}

// report is the whole: what --json-file and --out write.
type report struct {
	Machine  map[string]string `json:"machine"`
	Settings map[string]string `json:"postgres_settings"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Quick    bool              `json:"quick"`
	Results  []result          `json:"results"`
}

func writeReport(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints a scenario for people: the medians with their spread.
func writeTable(w io.Writer, r result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n", r.Scenario, r.About)
	for _, c := range r.Comparisons {
		fmt.Fprintf(&b, "  %s", c.Variant)
		if c.Ratio > 0 {
			fmt.Fprintf(&b, "   %s ÷ %s = %.2f", c.Entries[0].Name, c.Entries[1].Name, c.Ratio)
		}
		b.WriteByte('\n')
		for _, e := range c.Entries {
			fmt.Fprintf(&b, "    %-24s %12s %-8s (%s … %s)", e.Name, number(e.Value.Median), r.Unit, number(e.Value.Min), number(e.Value.Max))
			for _, name := range slices.Sorted(maps.Keys(e.Metrics)) {
				fmt.Fprintf(&b, "  %s %s", name, number(e.Metrics[name].Median))
			}
			b.WriteByte('\n')
		}
		for _, e := range c.Entries {
			if e.Settings != "" {
				fmt.Fprintf(&b, "      %s: %s\n", e.Name, e.Settings)
			}
		}
		for _, warning := range c.Warnings {
			fmt.Fprintf(&b, "    WARNING: %s\n", warning)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
