package spec

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stemqueue/stem/internal/nearest"
)

// Policy says what becomes of local times that a zone leaves out or repeats. The zero value is Gap "next" and Overlap
// "first". Only cron and calendar specs ask.
type Policy struct {
	Gap     string // "next": at the end of the gap; "skip"
	Overlap string // "first", "second", "both"
}

// Check returns an error if a value is none of those.
func (p Policy) Check() error {
	if err := oneOf("gap", p.gap(), "next", "skip"); err != nil {
		return err
	}
	return oneOf("overlap", p.overlap(), "first", "second", "both")
}

func (p Policy) gap() string     { return cmp.Or(p.Gap, "next") }
func (p Policy) overlap() string { return cmp.Or(p.Overlap, "first") }

// oneOf returns an error that lists the words if got is none of them.
func oneOf(path, got string, words ...string) error {
	if slices.Contains(words, got) {
		return nil
	}
	return wrong(path, "%q; want one of %s%s", got, strings.Join(words, ", "), didYouMean(got, words))
}

func didYouMean(got string, words []string) string {
	if name, ok := nearest.Name(got, slices.Values(words)); ok {
		return ". Did you mean " + name + "?"
	}
	return ""
}
