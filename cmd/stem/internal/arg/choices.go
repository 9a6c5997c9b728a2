package arg

import (
	"slices"
	"strings"
)

// Choices is a set of a few words: the flag is repeated, or the words are separated by commas. Make one with [SomeOf].
type Choices struct {
	Values []string // nil when the flag is not given
	words  []string
}

// SomeOf is an empty set of these words.
func SomeOf(words ...string) Choices { return Choices{words: words} }

// Set implements pflag.Value.
func (c *Choices) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		word, err := ParseChoice(strings.TrimSpace(part), c.words)
		if err != nil {
			return err
		}
		if !slices.Contains(c.Values, word) {
			c.Values = append(c.Values, word)
		}
	}
	return nil
}

func (c *Choices) String() string { return strings.Join(c.Values, ",") }

// Type implements pflag.Value.
func (c *Choices) Type() string { return "word,..." }

// Words lists the choices, for shell completion.
func (c *Choices) Words() []string { return c.words }
