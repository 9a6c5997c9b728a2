package arg

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stemqueue/stem/internal/nearest"
)

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)
	uuidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// ParseName checks the name of a queue, task, schedule or namespace. Path-like names are for hierarchy ("mail/out");
// a part "." or ".." is a mistake.
func ParseName(s string) (string, error) {
	parts := strings.Split(s, "/")
	if !namePattern.MatchString(s) || slices.Contains(parts, "..") || slices.Contains(parts, ".") {
		return "", fmt.Errorf("names are 1-128 of letters, digits, _ . : / -; got %q", clip(s))
	}
	return s, nil
}

// ParseNames reads a list of names between commas.
func ParseNames(s string) ([]string, error) {
	var names []string
	for part := range strings.SplitSeq(s, ",") {
		name, err := ParseName(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// Name is one name.
type Name string

// Set implements pflag.Value.
func (n *Name) Set(s string) error {
	v, err := ParseName(s)
	*n = Name(v)
	return err
}

func (n *Name) String() string { return string(*n) }

// Type implements pflag.Value.
func (*Name) Type() string { return "name" }

// Names is a list of names: the flag is repeated, or the names are separated by commas. Doubles are dropped.
type Names []string

// Set implements pflag.Value.
func (n *Names) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		name, err := ParseName(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if !slices.Contains(*n, name) {
			*n = append(*n, name)
		}
	}
	return nil
}

func (n *Names) String() string { return strings.Join(*n, ",") }

// Type implements pflag.Value.
func (*Names) Type() string { return "name,..." }

// JobID is the UUID of a job, in lower case.
type JobID string

// ParseJobID checks a positional id.
func ParseJobID(s string) (JobID, error) {
	if !uuidPattern.MatchString(s) {
		return "", fmt.Errorf("%q is not a job id (want a UUID, 36 characters)", clip(s))
	}
	return JobID(strings.ToLower(s)), nil
}

// Set implements pflag.Value.
func (id *JobID) Set(s string) (err error) {
	*id, err = ParseJobID(s)
	return err
}

func (id *JobID) String() string { return string(*id) }

// Type implements pflag.Value.
func (*JobID) Type() string { return "uuid" }

// Headers is a set of k=v pairs; the flag is repeated.
type Headers map[string]string

const (
	maxHeaders     = 64
	maxHeaderKey   = 256
	maxHeaderBytes = 16 << 10 // keys and values of all
)

// Set implements pflag.Value.
func (h *Headers) Set(s string) error {
	key, value, found := strings.Cut(s, "=")
	switch {
	case !found:
		return fmt.Errorf("want key=value, got %q", clip(s))
	case key == "":
		return fmt.Errorf("the key is empty in %q", clip(s))
	case len(key) > maxHeaderKey:
		return fmt.Errorf("the key is %d bytes; limit %d", len(key), maxHeaderKey)
	case h.bytes()+len(key)+len(value) > maxHeaderBytes:
		return fmt.Errorf("all headers together are %d bytes; limit %d", h.bytes()+len(key)+len(value), maxHeaderBytes)
	case strings.ContainsFunc(key, unprintable), strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("control characters are not allowed, got %q", clip(s))
	case !utf8.ValidString(s):
		return errors.New("not valid UTF-8")
	}
	if _, twice := (*h)[key]; twice {
		return fmt.Errorf("%q is given twice", key)
	}
	if len(*h) == maxHeaders {
		return fmt.Errorf("more than %d headers", maxHeaders)
	}
	if *h == nil {
		*h = Headers{}
	}
	(*h)[key] = value
	return nil
}

func (h *Headers) bytes() int {
	n := 0
	for k, v := range *h {
		n += len(k) + len(v)
	}
	return n
}

func unprintable(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }

func (h *Headers) String() string {
	pairs := make([]string, 0, len(*h))
	for _, k := range slices.Sorted(maps.Keys(*h)) {
		pairs = append(pairs, k+"="+(*h)[k])
	}
	return strings.Join(pairs, ",")
}

// Type implements pflag.Value.
func (*Headers) Type() string { return "key=value" }

// Choice is one of a few words. Make one with [OneOf].
type Choice struct {
	Value string
	words []string
}

// OneOf is a choice that is value when the flag is not given.
func OneOf(value string, words ...string) Choice { return Choice{Value: value, words: words} }

// Set implements pflag.Value.
func (c *Choice) Set(s string) error {
	v, err := ParseChoice(s, c.words)
	if err != nil {
		return err
	}
	c.Value = v
	return nil
}

func (c *Choice) String() string { return c.Value }

// Type implements pflag.Value.
func (c *Choice) Type() string { return strings.Join(c.words, "|") }

// Words lists the choices, for shell completion.
func (c *Choice) Words() []string { return c.words }

// ParseChoice checks that s is one of words.
func ParseChoice(s string, words []string) (string, error) {
	if slices.Contains(words, s) {
		return s, nil
	}
	last := len(words) - 1
	err := fmt.Errorf("want %s or %s, got %q", strings.Join(words[:last], ", "), words[last], clip(s))
	if name, ok := nearest.Name(s, slices.Values(words)); ok {
		err = fmt.Errorf("%w. Did you mean %s?", err, name)
	}
	return "", err
}
