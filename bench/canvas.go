package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// canvas collects the elements of an SVG. Colours are classes, so that one file is readable on light and dark pages; the
// background is drawn, for whatever knows of neither.
type canvas struct {
	b strings.Builder
	y float64 // where the next thing goes
}

const (
	plotWidth = 900.0
	margin    = 14.0
	style     = `<style>
.page{fill:#ffffff} text{fill:#1f2328} .soft{fill:#59636e} .grid{stroke:#d1d9e0} .ink{stroke:#1f2328}
.s0{fill:#0969da;stroke:#0969da} .s1{fill:#54aeff;stroke:#54aeff} .r0{fill:#d4781c;stroke:#d4781c} .r1{fill:#f0b37e;stroke:#f0b37e} .o0{fill:#818b98;stroke:#818b98}
@media (prefers-color-scheme: dark) {
.page{fill:#0d1117} text{fill:#f0f6fc} .soft{fill:#9198a1} .grid{stroke:#3d444d} .ink{stroke:#f0f6fc}
.s0{fill:#4493f8;stroke:#4493f8} .s1{fill:#a5d6ff;stroke:#a5d6ff} .r0{fill:#e3893c;stroke:#e3893c} .r1{fill:#ffd8a8;stroke:#ffd8a8}
}
</style>
`
)

func (c *canvas) svg() string {
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n%s"+
		"<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n%s</svg>\n", plotWidth, c.y, plotWidth, c.y, style, c.b.String())
}

// text writes at (x, y). anchor is start, middle or end.
func (c *canvas) text(x, y, size float64, class, anchor, s string) {
	fmt.Fprintf(&c.b, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, size, class, anchor, html.EscapeString(s))
}

// paragraph writes lines of at most so many letters and moves on.
func (c *canvas) paragraph(size float64, class, s string) {
	const letters = 1.95 // of a sans-serif in the width of a line, times its size; a wide one has fewer
	most := int((plotWidth - 2*margin) / size * letters)
	line := ""
	for word := range strings.FieldsSeq(s) {
		if len(line)+len(word) >= most {
			c.line(size, class, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	c.line(size, class, line)
}

func (c *canvas) line(size float64, class, s string) {
	c.y += size + 5
	c.text(margin, c.y, size, class, "start", s)
}

func (c *canvas) stroke(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

func (c *canvas) bar(class string, opacity, x, y, width, height float64) {
	fmt.Fprintf(&c.b, "<rect class=\"%s\" fill-opacity=\"%.2f\" stroke=\"none\" style=\"stroke:none\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
		class, opacity, x, y, width, height)
}

type point struct{ x, y float64 }

func coordinates(points []point) string {
	list := make([]string, len(points))
	for i, p := range points {
		list[i] = fmt.Sprintf("%.1f,%.1f", p.x, p.y)
	}
	return strings.Join(list, " ")
}

func (c *canvas) curve(class string, points []point) {
	fmt.Fprintf(&c.b, "<polyline class=\"%s\" style=\"fill:none\" stroke-width=\"2\" points=\"%s\"/>\n", class, coordinates(points))
}

func (c *canvas) area(class string, points []point) {
	fmt.Fprintf(&c.b, "<polygon class=\"%s\" style=\"stroke:none\" fill-opacity=\"0.2\" points=\"%s\"/>\n", class, coordinates(points))
}

// axis is from zero to a round number, in steps that are 1, 2 or 5 times a power of ten.
type axis struct{ step, end float64 }

func axisTo(most float64) axis {
	if most <= 0 || math.IsNaN(most) || math.IsInf(most, 0) {
		return axis{1, 1}
	}
	power := math.Pow(10, math.Floor(math.Log10(most/4)))
	step := 10 * power
	for _, m := range []float64{5, 2, 1} {
		if most/(m*power) >= 3 {
			step = m * power
			break
		}
	}
	return axis{step, math.Ceil(most/step-1e-9) * step}
}

func (a axis) ticks() []float64 {
	var list []float64
	for i := 0; float64(i)*a.step <= a.end*(1+1e-9); i++ {
		list = append(list, float64(i)*a.step)
	}
	return list
}

// label is a tick's.
func label(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	default:
		return fmt.Sprintf("%.4g", v)
	}
}
