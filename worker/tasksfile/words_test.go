package tasksfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWords(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		want  []string
		wrong string
	}{
		{in: "", want: nil},
		{in: "  \t\n ", want: nil},
		{in: "a b  c", want: []string{"a", "b", "c"}},
		{in: `a 'b c' "d e"`, want: []string{"a", "b c", "d e"}},
		{in: `a''b ""`, want: []string{"ab", ""}},
		{in: `a\ b \' "\"\\\n"`, want: []string{"a b", "'", `"\\n`}},
		{in: `'a\b' '$x'`, want: []string{`a\b`, "$x"}},
		{in: "a\\\nb \"c\\\nd\"", want: []string{"ab", "cd"}},
		{in: `\$x "\$y\` + "`" + `"`, want: []string{"$x", "$y`"}},
		{in: "grüße 'ß'", want: []string{"grüße", "ß"}},
		{in: `a 'b`, wrong: "a quote is not closed"},
		{in: `a "b`, wrong: "a quote is not closed"},
		{in: `a "b\`, wrong: "a quote is not closed"},
		{in: `a\`, wrong: "nothing follows the backslash"},
		{in: `a | b`, wrong: `| would need a shell: quote it, or write command: ["sh", "-c", "..."]`},
		{in: `echo "$HOME"`, wrong: "$ would need a shell"},
		{in: "echo `id`", wrong: "` would need a shell"},
	}
	for _, tt := range tests {
		got, err := words(tt.in)
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("words(%q): %v", tt.in, err)
		case tt.wrong != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.wrong)):
			t.Errorf("words(%q): got error %v, want %q", tt.in, err, tt.wrong)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("words(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

// What was split, quoted and joined again splits into the same words.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"a b", `'a b' "c\"d" \ e`, "''", `"`, `\`, "a|b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := words(s)
		if err != nil {
			return
		}
		quoted := make([]string, len(list))
		for i, w := range list {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		again, err := words(strings.Join(quoted, " "))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list, again); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}
