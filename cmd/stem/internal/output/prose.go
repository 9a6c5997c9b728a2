package output

import (
	"fmt"
	"io"

	"github.com/charmbracelet/x/ansi"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
)

// readable is how wide prose gets on a terminal, however wide that is.
const readable = 100

// Title writes a line of its own over what follows, after an empty one. It is for tables only.
func (p *Printer) Title(s string) error {
	s = escape.Text(s)
	if p.Colour {
		s = heading.Render(s)
	}
	_, err := fmt.Fprintf(p.Out, "\n%s\n", s)
	return err
}

// Prose writes a paragraph, on a terminal wrapped at blanks.
func (p *Printer) Prose(s string) error {
	s = escape.Text(s)
	if p.Width > 0 {
		s = ansi.Wordwrap(s, min(p.Width, readable), "")
	}
	_, err := io.WriteString(p.Out, s+"\n")
	return err
}

// Line writes a line in a tone, where there is colour.
func (p *Printer) Line(tone Tone, s string) error {
	s = escape.Text(s)
	if style, ok := tones[tone]; ok && p.Colour {
		s = style.Render(s)
	}
	_, err := io.WriteString(p.Out, s+"\n")
	return err
}
