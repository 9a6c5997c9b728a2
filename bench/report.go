package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
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
	Floors   []verdict         `json:"floors"`
	Shares   []share           `json:"shares_of_limits,omitempty"`

	missing []string // floors whose scenario ran without giving such a figure
}

// note says below a plot's title what it was made with.
func (r report) note() string {
	short := ""
	if r.Quick {
		short = " A short run on little data."
	}
	return fmt.Sprintf("Median of %d rounds, line or area from the least to the most. Postgres %s, River %s, %s CPUs for the server and both clients.%s",
		r.Rounds, r.Versions["postgres"], r.Versions["river"], r.Machine["cpus"], short)
}

func writeReport(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints a scenario for people: the medians with their spread, and the ratios below the figures that they are of.
func writeTable(w io.Writer, r result) error {
	fmt.Fprintf(w, "\n%s: %s\n", r.Scenario, r.About)
	for _, c := range r.Comparisons {
		fmt.Fprintf(w, "  %s\n", c.Variant)
		names := metricNames(c)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "    \t%s\tleast … most\t%s\n", r.Unit, strings.Join(names, "\t"))
		for _, e := range c.Entries {
			fmt.Fprintf(t, "    %s\t%s\t%s … %s", e.Name, number(e.Value.Median), number(e.Value.Min), number(e.Value.Max))
			for _, name := range names {
				v, ok := e.figure(name)
				fmt.Fprintf(t, "\t%s", cell(number(v), ok))
			}
			fmt.Fprintln(t)
		}
		for _, a := range c.Against {
			fmt.Fprintf(t, "    %s ÷ %s\t%s\t", c.Entries[0].Name, a.To, short(a.Ratios["value"]))
			for _, name := range names {
				v, ok := a.Ratios[name]
				fmt.Fprintf(t, "\t%s", cell(short(v), ok))
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, e := range c.Entries {
			if e.Settings != "" {
				fmt.Fprintf(w, "      %s: %s\n", e.Name, e.Settings)
			}
		}
		for _, warning := range c.Warnings {
			fmt.Fprintf(w, "    WARNING: %s\n", warning)
		}
	}
	return nil
}

// metricNames are those of all contenders, what is compared first.
func metricNames(c comparison) []string {
	all := map[string]bool{}
	for _, e := range c.Entries {
		for name := range e.Metrics {
			all[name] = true
		}
	}
	var list []string
	for _, name := range comparableMetrics {
		if all[name] {
			list = append(list, name)
			delete(all, name)
		}
	}
	return append(list, slices.Sorted(maps.Keys(all))...)
}

func cell(text string, there bool) string {
	if !there {
		return "-"
	}
	return text
}

// short prints a ratio: three digits that count, and no more than two behind the point from 0.1 on.
func short(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
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
