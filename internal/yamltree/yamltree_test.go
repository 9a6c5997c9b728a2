package yamltree_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stemqueue/stem/internal/yamltree"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"a: 1\n", "1:1 fine"},
		{"\n  - b\n", "2:3 fine"},
		{"{a: 1}", "1:1 fine"},
		{"\ufeff# x\r\nab: 1\r\n", "2:1 fine"},
		{"{\n\t\"a\": 1\n}\n", "1:1 fine"},
		{"[\n\t1,\n\t2]", "1:1 fine"},
		{"a: \"x\ty\"\n", "1:1 fine"},
		{"a: |\n  x\n  \ty\n", "1:1 fine"},
		{"a:\t1 # x\ty\n", "1:1 fine"},
		{"", "none"},
		{"# nothing\n", "none"},
		{"a:\n\tb: 1\n", "2:1 tabs cannot indent YAML"},
		{"a: 1\tb\n", "1:4 a tab inside of a text; quote the text"},
		{"a: 1\n---\nb: 1\n", "3:1 a second document; want one"},
		{"a: [\n", "1:4 sequence end token ']' not found"},
		{"a: *b\n", "1:4 a text that begins with * must be quoted, and aliases are not supported"},
		{"a: &b c\n<<: {}\n", "1:4 anchors, aliases and merge keys are not supported; write the value out\n2:1 anchors, aliases and merge keys are not supported; write the value out"},
		{"%YAML 1.2\n---\na: !!str b\n", "1:1 tags and directives are not supported\n3:4 tags and directives are not supported"},
		{"a: \x7f\n", "1:4 control character U+007F"},
		{"ä: \xff\n", "1:4 not UTF-8"},
		{"a\x00", "1:1 UTF-16; save as UTF-8"},
		{"\xfe\xff\x00a", "1:1 UTF-16; save as UTF-8"},
		{"[[[[[[1]]]]]]", "1:6 nested too deep"},
		{"- - - - - - a", "1:11 nested too deep"},
		{strings.Repeat(" ", 201) + "a: 1\n", "1:202 nested too deep"},
		{strings.Repeat("#", yamltree.MaxBytes+1), "0:0 larger than 1 MiB"},
	} {
		root, _, wrong := yamltree.Parse([]byte(tt.text), 5)
		got := "none"
		if root != nil {
			at := yamltree.Place(root).Position
			got = fmt.Sprintf("%d:%d fine", at.Line, at.Column)
		}
		if len(wrong) > 0 {
			var lines []string
			for _, m := range wrong {
				lines = append(lines, fmt.Sprintf("%d:%d %s", m.Line, m.Column, m.Text))
			}
			got = strings.Join(lines, "\n")
		}
		if got != tt.want {
			t.Errorf("%.60q: %s, want %s", tt.text, got, tt.want)
		}
	}
}
