package escape_test

import (
	"testing"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
)

func TestTextDisarmsTerminalInjection(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		"plain ünïcode 日本":  "plain ünïcode 日本",
		"\x1b[2J":           `\x1b[2J`,
		"a\nb\r\tc\x00":     `a\nb\r\tc\x00`,
		"\u009b31m":         `\u009b31m`,
		"user\u202egpj.exe": `user\u202egpj.exe`,
		"bad\xffbyte":       `bad\xffbyte`,
		"kept \uFFFD":       "kept \uFFFD",
		"line\u2028sep":     `line\u2028sep`,
		"\x7f":              `\x7f`,
	} {
		if s := escape.Text(got); s != want {
			t.Errorf("Text(%q) = %q, want %q", got, s, want)
		}
	}
}
