package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// YAML is written by hand: the encoders at hand print an ESC as it is, and 7 inside stored JSON as 7.0. A string is
// plain when every reader takes it for a string, and otherwise a JSON string, which YAML contains.
var (
	plainYAML = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./]*([ -]+[A-Za-z0-9_./]+)*$`)
	yamlWords = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null)$`)
)

func appendYAML(b *bytes.Buffer, members []member, indent string) error {
	for i, m := range members {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString(yamlString(m.key) + ":")
		if err := appendYAMLValue(b, m.value, indent); err != nil {
			return err
		}
	}
	return nil
}

func appendYAMLValue(b *bytes.Buffer, v any, indent string) error {
	switch v := v.(type) {
	case Nested:
		if len(v.rows) > 0 {
			b.WriteString("\n")
			return appendYAMLList(b, v.rows, indent)
		}
		b.WriteString(" []\n")
		return nil
	case []string:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return nil
		}
		b.WriteString("\n")
		for _, s := range v {
			b.WriteString(indent + "- " + yamlString(s) + "\n")
		}
		return nil
	}
	text, err := marshal(v)
	if err != nil {
		return err
	}
	var s string
	if _, raw := v.(json.RawMessage); !raw && v != nil && json.Unmarshal(text, &s) == nil {
		text = []byte(yamlString(s))
	}
	b.WriteString(" " + string(text) + "\n")
	return nil
}

func appendYAMLList(b *bytes.Buffer, rows [][]member, indent string) error {
	for _, row := range rows {
		b.WriteString(indent + "- ")
		if err := appendYAML(b, row, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

func yamlString(s string) string {
	if plainYAML.MatchString(s) && !yamlWords.MatchString(s) {
		return s
	}
	text, _ := marshal(s) // a string: cannot fail
	var b strings.Builder
	for _, r := range string(text) {
		if r >= 0x7f && r < 0xa0 { // DEL and the C1 controls, which JSON leaves as they are and YAML does not allow
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
