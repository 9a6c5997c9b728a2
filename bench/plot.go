package main

import (
	"fmt"
	"html"
	"strings"
)

const (
	plotWidth = 860
	barHeight = 22
	labelCol  = 200
)

var colours = []string{"#1f6feb", "#d1862b", "#7aa7e8", "#e3b97f", "#8c8c8c"}

// plot draws a scenario as bars: the median, with a line from the least to the most. Runs that have slices get a line chart
// below.
func plot(r result) string {
	var b strings.Builder
	y := 60
	for _, c := range r.Comparisons {
		y = bars(&b, c, r.Unit, y)
		y = curves(&b, c, y)
	}
	head := fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", plotWidth, y+10)
	head += text(10, 22, 16, r.Scenario+", "+r.Unit) + text(10, 40, 12, r.About)
	return head + b.String() + "</svg>\n"
}

func text(x, y, size int, s string) string {
	return fmt.Sprintf("<text x=\"%d\" y=\"%d\" font-size=\"%d\">%s</text>\n", x, y, size, html.EscapeString(s))
}

// bars draws one comparison from y on and returns where it ended.
func bars(b *strings.Builder, c comparison, unit string, y int) int {
	title := c.Variant
	if c.Ratio > 0 {
		title += fmt.Sprintf(" (ratio %.2f)", c.Ratio)
	}
	b.WriteString(text(10, y+14, 13, title))
	y += 22
	most := 0.0
	for _, e := range c.Entries {
		most = max(most, e.Value.Max)
	}
	room := float64(plotWidth - labelCol - 160)
	scale := 0.0
	if most > 0 {
		scale = room / most
	}
	for i, e := range c.Entries {
		middle := y + barHeight/2
		b.WriteString(text(10, middle+4, 12, e.Name))
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
			labelCol, y+3, e.Value.Median*scale, barHeight-6, colours[i%len(colours)])
		fmt.Fprintf(b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"black\"/>\n",
			labelCol+e.Value.Min*scale, middle, labelCol+e.Value.Max*scale, middle)
		b.WriteString(text(labelCol+int(e.Value.Max*scale)+8, middle+4, 12, number(e.Value.Median)+" "+unit))
		y += barHeight
	}
	return y + 14
}

// curves draws the slices of each contender's last run, if it has any.
func curves(b *strings.Builder, c comparison, y int) int {
	const height = 160
	most, longest := 0.0, 0
	for _, e := range c.Entries {
		if len(e.Runs) == 0 {
			continue
		}
		series := e.Runs[len(e.Runs)-1].Series
		longest = max(longest, len(series))
		for _, v := range series {
			most = max(most, v)
		}
	}
	if longest < 2 || most == 0 {
		return y
	}
	fmt.Fprintf(b, "<rect x=\"60\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#ccc\"/>\n", y, plotWidth-80, height)
	b.WriteString(text(4, y+10, 11, number(most)) + text(4, y+height, 11, "0"))
	for i, e := range c.Entries {
		if len(e.Runs) == 0 {
			continue
		}
		var points []string
		for k, v := range e.Runs[len(e.Runs)-1].Series {
			x := 60 + float64(plotWidth-80)*float64(k)/float64(longest-1)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, float64(y)+height*(1-v/most)))
		}
		fmt.Fprintf(b, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"%s\"/>\n", colours[i%len(colours)], strings.Join(points, " "))
	}
	return y + height + 20
}
