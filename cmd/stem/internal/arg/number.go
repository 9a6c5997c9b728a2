package arg

import (
	"fmt"
	"strconv"
	"strings"
)

// Int is an integer with bounds. Make one with [Between] or [Limit].
type Int struct {
	Value    int
	min, max int
}

// Between is an integer from low to high that is value when the flag is not given.
func Between(low, high, value int) Int { return Int{Value: value, min: low, max: high} }

// Limit is the --limit of a list: 1 to 10000.
func Limit(value int) Int { return Between(1, 10000, value) }

// Set implements pflag.Value.
func (n *Int) Set(s string) error {
	v, err := ParseInt(s, n.min, n.max)
	if err != nil {
		return err
	}
	n.Value = v
	return nil
}

func (n *Int) String() string { return strconv.Itoa(n.Value) }

// Type implements pflag.Value.
func (*Int) Type() string { return "int" }

// ParseInt reads plain decimal digits: no exponent, no fraction, no blanks inside, no underscores.
func ParseInt(s string, low, high int) (int, error) {
	v, err := strconv.Atoi(s)
	if err != nil || v < low || v > high || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("want an integer from %d to %d, got %q", low, high, clip(s))
	}
	return v, nil
}

// clip shortens a value that is quoted in a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
}
