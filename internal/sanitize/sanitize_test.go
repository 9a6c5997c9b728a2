package sanitize_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stemqueue/stem/internal/sanitize"
)

func TestAnyTextBecomesFitToBeStored(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "plain é": "plain é", "a\x00b": "a�b", "caf\xe9": "caf�"} {
		if got := sanitize.Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, unit := range []string{"x", "é", "\xff", "\x00", "日", "\xffa"} {
		got := sanitize.Text("start" + strings.Repeat(unit, 10<<20/len(unit)) + "end")
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) || len(got) > 32<<10 {
			t.Errorf("%q: %d bytes", unit, len(got))
		}
		if !strings.HasPrefix(got, "start") || !strings.HasSuffix(got, "end") || !strings.Contains(got, "… cut …") {
			t.Errorf("%q: lost an end", unit)
		}
	}
}
