package output

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
)

// writeCSV prints a header and the rows as RFC 4180 has them, CRLF included. The header is the JSON keys, which it
// learns from the zero row.
func writeCSV[T any](out io.Writer, s *Sheet[T], rows iter.Seq2[T, error]) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	var zero T
	var header []string
	for _, m := range s.members(zero) {
		header = append(header, m.key)
	}
	if err := w.Write(header); err != nil {
		return err
	}
	err := each(rows, func(row T) error {
		members := s.members(row)
		if len(members) != len(header) {
			return fmt.Errorf("output: a %s has %d fields, the header %d: a Value returns nil for a nil *time.Duration",
				s.Noun, len(members), len(header))
		}
		record := make([]string, len(members))
		for i, m := range members {
			text, err := csvField(m.value)
			if err != nil {
				return err
			}
			record[i] = text
		}
		return w.Write(record)
	})
	w.Flush()
	if err != nil {
		return err
	}
	return w.Error()
}

// csvField is a value as text: strings as they are, absent ones empty, lists joined by commas, the rest as in JSON.
func csvField(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []string:
		return strings.Join(v, ","), nil
	case json.RawMessage:
		return string(v), nil
	case Nested:
		return v.json()
	}
	text, err := marshal(v)
	if err != nil {
		return "", err
	}
	var s string
	if json.Unmarshal(text, &s) == nil { // a type over string
		return s, nil
	}
	return string(text), nil
}
