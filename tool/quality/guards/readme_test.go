package guards

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^(<!--[^\n]*-->\n)?```go\n(.*?)^```$")

// Code in a document is read more than any other and compiled by nobody. Each paragraph of a Go block in README.md and the guides
// stands in a Go file of the module, but for its indentation; a block that cannot has a comment above it that says why:
// <!-- not compiled: … -->.
func TestDocumentedCodeIsCompiled(t *testing.T) {
	t.Parallel()
	top := root(t)
	var sources []string
	for _, name := range goFiles(t) {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, flat(string(text)))
	}
	documents, err := filepath.Glob(filepath.Join(top, "docs", "guides", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(documents, filepath.Join(top, "README.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, paragraph := range uncompiled(string(text), sources) {
			t.Errorf("%s: in no Go file, so nobody compiles it; copy it from one, or write <!-- not compiled: why --> above the block:\n%s",
				filepath.Base(name), paragraph)
		}
	}
}

// uncompiled lists the paragraphs of Go blocks that are in none of the sources.
func uncompiled(text string, sources []string) []string {
	var list []string
	for _, m := range goBlock.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "<!-- not compiled: ") {
			continue
		}
		for paragraph := range strings.SplitSeq(m[2], "\n\n") {
			found := false
			for _, s := range sources {
				found = found || strings.Contains(s, flat(paragraph))
			}
			if !found {
				list = append(list, strings.TrimSpace(paragraph))
			}
		}
	}
	return list
}

// flat is text without indentation, each line between line feeds, so that only whole lines are found.
func flat(text string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

func TestUncompiledCodeIsFound(t *testing.T) {
	t.Parallel()
	sources := []string{flat("package x\n\nfunc f() {\n\ta := 1\n\tb(a)\n}\n")}
	for text, want := range map[string]int{
		"```go\na := 1\nb(a)\n```\n":                             0,
		"```go\nb(a)\n\na := 1\n```\n":                           0,
		"```go\na := 1\nb(a, 2)\n```\n":                          1,
		"```go\n:= 1\n```\n":                                     1, // not a whole line
		"```go\nc\n\nd\n```\n":                                   2,
		"<!-- not compiled: a sketch -->\n```go\nb(a, 2)\n```\n": 0,
		"<!-- an ordinary comment -->\n```go\nb(a, 2)\n```\n":    1,
		"```sh\nc\n```\n":                                        0,
	} {
		if got := uncompiled(text, sources); len(got) != want {
			t.Errorf("%q: got %q, want %d", text, got, want)
		}
	}
}
