// Package jsonlimit refuses JSON that is valid and still dangerous: nested too deep, numbers too long, halves of surrogate
// pairs. Producers check before they store, workers before they decode.
package jsonlimit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Limits. A number beyond them is legal JSON and costs Go's big decoder, or Postgres's numeric, megabytes.
const (
	MaxDepth    = 200
	MaxDigits   = 400
	MaxExponent = 400
)

var errNotJSON = errors.New("not valid JSON")

// Check returns why b is refused, or nil. It allocates nothing for good input.
func Check(b []byte) error {
	if !json.Valid(b) {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%w: %w", errNotJSON, err)
		}
		return errNotJSON
	}
	return CheckLimits(b)
}

// CheckLimits is Check for bytes of which somebody else says whether they are JSON: who encoded them, or a decoder that reads them
// next. It reads b once, and of what is no JSON it may say anything.
func CheckLimits(b []byte) error {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("depth %d (limit %d)", depth, MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c == '"':
			end, err := checkString(b, i+1)
			if err != nil {
				return err
			}
			i = end
		case c == '-' || c >= '0' && c <= '9':
			end, err := checkNumber(b, i)
			if err != nil {
				return err
			}
			i = end - 1
		}
	}
	return nil
}

// checkString reads from behind the opening quote and returns the index of the closing one, len(b) where there is none. It looks for
// the quote, then for escapes before it: most strings have none.
func checkString(b []byte, i int) (int, error) {
	end := quote(b, i)
	for {
		escape := bytes.IndexByte(b[i:end], '\\')
		if escape < 0 {
			return end, nil
		}
		var err error
		if i, err = checkEscape(b, i+escape+1); err != nil {
			return 0, err
		}
		if i > end { // the quote was part of it
			end = quote(b, i)
		}
	}
}

func quote(b []byte, i int) int {
	if n := bytes.IndexByte(b[i:], '"'); n >= 0 {
		return i + n
	}
	return len(b)
}

// checkEscape reads what follows a backslash, the other half of a pair included, and returns the index behind it.
func checkEscape(b []byte, i int) (int, error) {
	if i+5 > len(b) || b[i] != 'u' {
		return min(i+1, len(b)), nil
	}
	switch unit := hex(b[i+1 : i+5]); {
	case unit >= 0xdc00 && unit <= 0xdfff:
		return 0, fmt.Errorf("lone low surrogate \\u%04x at byte %d", unit, i-1)
	case unit >= 0xd800 && unit <= 0xdbff:
		if low := pair(b, i+5); low < 0xdc00 || low > 0xdfff {
			return 0, fmt.Errorf("lone high surrogate \\u%04x at byte %d", unit, i-1)
		}
		return i + 11, nil
	}
	return i + 5, nil
}

func hex(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b), 16, 32) // four hex digits, if it is JSON
	return n
}

// pair returns the unit of the escape at i, 0 when there is none.
func pair(b []byte, i int) uint64 {
	if i+6 <= len(b) && b[i] == '\\' && b[i+1] == 'u' {
		return hex(b[i+2 : i+6])
	}
	return 0
}

// checkNumber returns the index behind the number that begins at i.
func checkNumber(b []byte, i int) (int, error) {
	start, digits, exponent := i, 0, -1
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			if exponent < 0 {
				digits++
			} else if exponent = exponent*10 + int(c-'0'); exponent > MaxExponent {
				return 0, fmt.Errorf("number at byte %d has an exponent above %d", start, MaxExponent)
			}
		case c == 'e' || c == 'E':
			exponent = 0
		case c == '.' || c == '-' || c == '+':
		default:
			return i, tooLong(start, digits)
		}
	}
	return i, tooLong(start, digits)
}

func tooLong(start, digits int) error {
	if digits > MaxDigits {
		return fmt.Errorf("number at byte %d has %d digits (limit %d)", start, digits, MaxDigits)
	}
	return nil
}
