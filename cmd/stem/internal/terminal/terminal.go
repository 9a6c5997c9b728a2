// Package terminal answers what a stream can show: whether it is a terminal, how wide it is, whether to colour.
package terminal

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Is tells whether a stream is a terminal.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width is the number of columns of w, or 0 when it is no terminal and may be written to at any width.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80 // a terminal that does not say, such as a serial console
	}
	return width
}

// Height is the number of lines of the terminal w, 24 when it does not say.
func Height(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 0 {
			return height
		}
	}
	return 24
}

// When a stream is coloured.
const (
	Auto   = "auto"
	Always = "always"
	Never  = "never"
)

// Colour decides whether to colour a stream. Always and Never are the user's last word. Otherwise NO_COLOR switches
// colour off, then CLICOLOR_FORCE on, then TERM=dumb off; then a terminal is coloured and nothing else is.
func Colour(when string, getenv func(string) string, isTerminal bool) bool {
	force := getenv("CLICOLOR_FORCE")
	switch {
	case when == Always:
		return true
	case when == Never, getenv("NO_COLOR") != "":
		return false
	case force != "" && force != "0":
		return true
	case getenv("TERM") == "dumb":
		return false
	}
	return isTerminal
}
