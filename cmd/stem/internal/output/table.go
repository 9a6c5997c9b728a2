package output

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
)

const (
	gap     = 2 // blanks between columns
	narrow  = 8 // columns are not shortened below this, unless they are narrower anyway
	absent  = "-"
	ellipse = "…"
)

var tones = map[Tone]lipgloss.Style{
	Good:  lipgloss.NewStyle().Foreground(lipgloss.Green),
	Warn:  lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	Bad:   lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	Faint: lipgloss.NewStyle().Faint(true),
}

var heading = lipgloss.NewStyle().Bold(true)

// text is what stands in one place of a grid.
type text struct {
	s    string
	tone Tone
}

// lane is a column of a grid with its texts made harmless.
type lane struct {
	header string
	texts  []text
	width  int
	right  bool
	whole  bool // never shortened
}

// grid lays rows out in lanes.
func grid[T any](s *Sheet[T], rows []T, wide bool) []lane {
	var lanes []lane
	for _, c := range s.Columns {
		if c.Data || c.Wide && !wide {
			continue
		}
		l := lane{header: strings.ToUpper(c.Header), whole: c.Name, right: true}
		l.width = ansi.StringWidth(l.header)
		for _, row := range rows {
			v := c.Value(row)
			t := text{s: escape.Text(cell(v))}
			if t.s == "" {
				t.s = absent
			} else if !rightAligned(v) {
				l.right = false
			}
			if c.Tone != nil {
				t.tone = c.Tone(row)
			}
			l.width = max(l.width, ansi.StringWidth(t.s))
			l.texts = append(l.texts, t)
		}
		lanes = append(lanes, l)
	}
	return lanes
}

// table writes a grid as aligned lines. On a terminal its columns are shortened to fit.
func (p *Printer) table(b *strings.Builder, lanes []lane) {
	if len(lanes) == 0 {
		return
	}
	if p.Width > 0 {
		fit(lanes, p.Width)
	}
	headers := make([]string, len(lanes))
	for i, l := range lanes {
		headers[i] = p.place(l, text{s: l.header}, i == len(lanes)-1)
		if p.Colour {
			headers[i] = heading.Render(headers[i])
		}
	}
	writeRow(b, headers)
	for n := range lanes[0].texts {
		places := make([]string, len(lanes))
		for i, l := range lanes {
			places[i] = p.place(l, l.texts[n], i == len(lanes)-1)
		}
		writeRow(b, places)
	}
}

func writeRow(b *strings.Builder, places []string) {
	b.WriteString(strings.TrimRight(strings.Join(places, strings.Repeat(" ", gap)), " "))
	b.WriteByte('\n')
}

// place shortens, colours and pads one text. The last column is not padded, so that lines end where their text does.
func (p *Printer) place(l lane, t text, last bool) string {
	s := ansi.Truncate(t.s, l.width, ellipse)
	blanks := strings.Repeat(" ", max(0, l.width-ansi.StringWidth(s)))
	if style, ok := tones[t.tone]; ok && p.Colour {
		s = style.Render(s)
	}
	switch {
	case l.right:
		return blanks + s
	case last:
		return s
	}
	return s + blanks
}

// fit narrows the widest lanes until the line fits. Names go last: a name cut short cannot be pasted into the next
// command.
func fit(lanes []lane, width int) {
	total := gap * (len(lanes) - 1)
	for _, l := range lanes {
		total += l.width
	}
	for _, names := range []bool{false, true} {
		for total > width {
			widest := -1
			for i, l := range lanes {
				if l.width > narrow && (names || !l.whole) && (widest < 0 || l.width > lanes[widest].width) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			lanes[widest].width--
			total--
		}
		if total > width && names {
			return
		}
	}
}

// properties writes a single result as one line per column, and nested lists as tables below.
func properties[T any](p *Printer, b *strings.Builder, s *Sheet[T], row T) {
	widest := 0
	for _, c := range s.Columns {
		widest = max(widest, ansi.StringWidth(c.Header))
	}
	for _, c := range s.Columns {
		v := c.Value(row)
		if _, ok := v.(Nested); ok {
			continue
		}
		t := text{s: escape.Text(cell(v))}
		if t.s == "" {
			t.s = absent
		}
		if c.Tone != nil {
			t.tone = c.Tone(row)
		}
		width := ansi.StringWidth(t.s)
		if p.Width > 0 && p.Format != Wide {
			width = min(width, max(narrow, p.Width-widest-gap))
		}
		label := c.Header + strings.Repeat(" ", widest-ansi.StringWidth(c.Header)+gap)
		if p.Colour {
			label = heading.Render(label)
		}
		b.WriteString(label + p.place(lane{width: width}, t, true) + "\n")
	}
	for _, c := range s.Columns {
		if n, ok := c.Value(row).(Nested); ok && len(n.rows) > 0 {
			b.WriteString("\n" + c.Header + "\n")
			b.WriteString(n.table(p))
		}
	}
}
