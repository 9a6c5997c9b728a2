package main

import (
	"fmt"
	"slices"
	"strings"
)

const (
	labelCol = 210.0 // where bars begin
	barsEnd  = plotWidth - 200
	barStep  = 20.0
	chart    = 170.0 // height of a chart over time
)

// plot draws a scenario: bars of the medians with a line from the least to the most, the ratios, the settings, and where the runs
// were watched over time a chart of that. note is about the whole run.
func plot(r result, note string) string {
	c := &canvas{y: margin}
	c.line(18, "", r.Scenario)
	c.paragraph(12, "soft", r.About+". "+note)
	for _, one := range r.Comparisons {
		c.y += 16
		c.line(14, "", one.Variant)
		for _, a := range one.Against {
			c.paragraph(12, "", ratioLine(one.Entries[0].Name, a, r.Unit))
		}
		bars(c, one, r.Unit)
		curves(c, one, r.Unit)
		for _, e := range one.Entries {
			if e.Settings != "" {
				c.paragraph(10, "soft", e.Name+": "+e.Settings)
			}
		}
	}
	c.y += margin
	return c.svg()
}

func ratioLine(name string, a against, unit string) string {
	parts := []string{fmt.Sprintf("%s ÷ %s: %s %s", name, a.To, unit, short(a.Ratios["value"]))}
	for _, metric := range comparableMetrics {
		if v, ok := a.Ratios[metric]; ok {
			parts = append(parts, metric+" "+short(v))
		}
	}
	return strings.Join(parts, "; ")
}

// tone gives each side its colour, the first of a side the stronger one.
func tone(entries []entry, i int) string {
	before := func(prefix string) int {
		n := 0
		for _, e := range entries[:i] {
			if strings.HasPrefix(e.Name, prefix) {
				n++
			}
		}
		return min(n, 1)
	}
	switch name := entries[i].Name; {
	case strings.HasPrefix(name, "stem"):
		return fmt.Sprintf("s%d", before("stem"))
	case strings.HasPrefix(name, "river"):
		return fmt.Sprintf("r%d", before("river"))
	default:
		return "o0"
	}
}

// row is a bar.
type row struct {
	name, class string
	opacity     float64
	figure      spread
}

// rows are one of each contender, or its percentiles where latencies were measured.
func rows(c comparison) []row {
	var list []row
	for i, e := range c.Entries {
		if _, ok := e.Metrics["p50_ms"]; !ok {
			list = append(list, row{e.Name, tone(c.Entries, i), 1, e.Value})
			continue
		}
		for k, p := range percentiles {
			name, _, _ := strings.Cut(p, "_")
			list = append(list, row{e.Name + ", " + name, tone(c.Entries, i), 1 - 0.3*float64(k), e.Metrics[p]})
		}
	}
	return list
}

func bars(c *canvas, one comparison, unit string) {
	list := rows(one)
	most := 0.0
	for _, r := range list {
		most = max(most, r.figure.Max)
	}
	scale := axisTo(most)
	at := func(v float64) float64 { return labelCol + v/scale.end*(barsEnd-labelCol) }
	top := c.y + 10
	bottom := top + barStep*float64(len(list)) + 4
	for _, tick := range scale.ticks() {
		c.stroke("grid", at(tick), top, at(tick), bottom)
		c.text(at(tick), bottom+13, 11, "soft", "middle", label(tick))
	}
	c.text(barsEnd+24, bottom+13, 11, "soft", "start", unit)
	for i, r := range list {
		y := top + 4 + barStep*float64(i)
		middle := y + barStep/2 - 2
		c.text(labelCol-8, middle+4, 12, "", "end", r.name)
		c.bar(r.class, r.opacity, labelCol, y, at(r.figure.Median)-labelCol, barStep-4)
		c.stroke("ink", at(r.figure.Min), middle, at(r.figure.Max), middle)
		for _, end := range []float64{r.figure.Min, r.figure.Max} {
			c.stroke("ink", at(end), middle-4, at(end), middle+4)
		}
		c.text(at(r.figure.Max)+6, middle+4, 11, "", "start", fmt.Sprintf("%s (%s … %s)", number(r.figure.Median), number(r.figure.Min), number(r.figure.Max)))
	}
	c.y = bottom + 18
}

// curves draws each contender's median over its runs for each slice of time, on an area from the least to the most.
func curves(c *canvas, one comparison, unit string) {
	all := make([][]spread, len(one.Entries))
	most, seconds, slice := 0.0, 0.0, 0.0
	for i, e := range one.Entries {
		all[i] = overTime(e.Runs)
		for _, s := range all[i] {
			most = max(most, s.Max)
		}
		if len(e.Runs) > 0 {
			slice = max(slice, e.Runs[0].Slice)
		}
		seconds = max(seconds, float64(len(all[i]))*slice)
	}
	if most == 0 || seconds == 0 {
		return
	}
	const left, right = 70.0, plotWidth - 200
	top, scale, time := c.y+24, axisTo(most), axisTo(seconds)
	x := func(t float64) float64 { return left + t/time.end*(right-left) }
	y := func(v float64) float64 { return top + chart*(1-v/scale.end) }
	c.text(left-8, top-6, 11, "soft", "end", unit)
	for _, tick := range scale.ticks() {
		c.stroke("grid", left, y(tick), right, y(tick))
		c.text(left-8, y(tick)+4, 11, "soft", "end", label(tick))
	}
	for _, tick := range time.ticks() {
		c.stroke("grid", x(tick), top, x(tick), top+chart)
		c.text(x(tick), top+chart+14, 11, "soft", "middle", label(tick))
	}
	c.text(right+24, top+chart+14, 11, "soft", "start", "seconds")
	for i, series := range all {
		var middle, upper, lower []point
		for k, s := range series {
			at := x((float64(k) + 0.5) * slice) // the rate of a slice stands at its middle
			middle, upper, lower = append(middle, point{at, y(s.Median)}), append(upper, point{at, y(s.Max)}), append(lower, point{at, y(s.Min)})
		}
		if len(series) == 0 {
			continue
		}
		slices.Reverse(lower)
		class := tone(one.Entries, i)
		c.area(class, append(upper, lower...))
		c.curve(class, middle)
		c.bar(class, 1, right+24, top+18*float64(i)+4, 14, 4)
		c.text(right+44, top+18*float64(i)+10, 11, "", "start", one.Entries[i].Name)
	}
	c.y = top + chart + 22
}

// overTime is the spread of each slice of time over the runs that were watched for so long.
func overTime(runs []sample) []spread {
	var list []spread
	for k := 0; ; k++ {
		var values []float64
		for _, r := range runs {
			if k < len(r.Series) {
				values = append(values, r.Series[k])
			}
		}
		if values == nil {
			return list
		}
		list = append(list, spreadOf(values))
	}
}
