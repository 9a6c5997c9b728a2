package schedulefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/internal/nearest"
)

// item is one key of a mapping with its value.
type item struct {
	key   string // as it is called here, whatever its spelling
	as    string // as it is written
	path  string // for messages: options.maxAttempts
	at    place
	value ast.Node
}

// items returns what is in a mapping. Keys that come twice, or are none of known (nil: any), are problems. Other spellings become one.
func (r *reader) items(node ast.Node, known *vocabulary, path, within string) []item {
	values := members(node)
	if _, mapping := node.(*ast.MappingNode); values == nil && !mapping {
		r.add(of(node), "%swant key: value%s", prefix(path), within)
		return nil
	}
	var list []item
	for _, v := range values {
		e := item{as: v.Key.GetToken().Value, at: at(v.Key.GetToken()), value: v.Value}
		e.key = e.as
		if known != nil {
			var ok bool
			if e.key, ok = known.find(e.as); !ok {
				r.add(e.at, "unknown key %s%s%s", quote(e.as), within, known.near(e.as))
				continue
			}
		}
		e.path = strings.TrimPrefix(path+"."+e.as, ".")
		if i := slices.IndexFunc(list, func(b item) bool { return b.key == e.key }); i >= 0 {
			if first := list[i]; first.as == e.as {
				r.add(e.at, "%s%s is given twice, first in line %d", quote(e.as), within, first.at.line)
			} else {
				r.add(e.at, "%s%s means the same as %s in line %d; give one", quote(e.as), within, quote(first.as), first.at.line)
			}
			continue
		}
		list = append(list, e)
	}
	return list
}

// vocabulary is the keys of a mapping, and what else they may be called.
type vocabulary struct {
	keys    []string
	aliases map[string]string
}

func (v *vocabulary) find(key string) (string, bool) {
	for _, k := range []string{key, camel(key)} {
		if name, ok := v.aliases[k]; ok {
			return name, true
		}
		if slices.Contains(v.keys, k) {
			return k, true
		}
	}
	return key, false
}

func (v *vocabulary) near(key string) string {
	names := slices.Clone(v.keys)
	for alias := range v.aliases {
		names = append(names, alias)
	}
	slices.Sort(names[len(v.keys):])
	if near, ok := nearest.Name(key, slices.Values(names)); ok {
		return ". Did you mean " + near + "?"
	}
	return ""
}

// camel is start_at as startAt.
func camel(key string) string {
	words := strings.Split(key, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// quote keeps a long text from drowning its problem.
func quote(s string) string { return strconv.Quote(clip(s)) }

// kind is what a value is to all who read YAML.
type kind int

const (
	text    kind = iota
	number       // as JSON writes it
	boolean      // true or false
	null
	doubtful // a text to some, a number or a truth value to others: yes, 08, 1_000
	compound
)

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	numberLike = regexp.MustCompile(`^[-+]?(0[xXoObB][0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$`)
	truthLike  = regexp.MustCompile(`^(?i:yes|no|on|off|true|false)$`)
)

// scalar returns a value as it is written, without its quotes, and its kind.
func scalar(node ast.Node) (string, kind) {
	switch n := node.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, text
	case *ast.StringNode:
		if t := n.Token.Type; t == token.DoubleQuoteType || t == token.SingleQuoteType {
			return n.Value, text
		}
		return n.Value, plain(n.Value)
	case *ast.NullNode:
		return "null", null
	case ast.ScalarNode:
		s := n.GetToken().Value
		return s, plain(s)
	}
	return "", compound
}

// plain is the kind of a text without quotes.
func plain(s string) kind {
	switch {
	case s == "true" || s == "false":
		return boolean
	case s == "null" || s == "Null" || s == "NULL" || s == "~" || s == "":
		return null
	case jsonNumber.MatchString(s):
		return number
	case truthLike.MatchString(s) || numberLike.MatchString(s) || strings.EqualFold(s, ".nan"):
		return doubtful
	}
	return text
}

// text returns a text, which is not empty.
func (r *reader) text(e item) (string, bool) {
	s, k := scalar(e.value)
	switch {
	case k == null || k == text && s == "":
		r.add(e.at, "%s: no value", e.path)
	case k == compound:
		r.add(of(e.value), "%s: want a text", e.path)
	case k != text:
		r.add(of(e.value), "%s: %s is not a text to all who read YAML; write %q", e.path, clip(s), clip(s))
	default:
		return s, true
	}
	return "", false
}

func (r *reader) boolean(e item) (b, ok bool) {
	s, k := scalar(e.value)
	if k == boolean {
		return s == "true", true
	}
	r.add(of(e.value), "%s: want true or false%s", e.path, got(s, k))
	return false, false
}

func (r *reader) integer(e item) (int, bool) {
	s, k := scalar(e.value)
	if n, err := strconv.Atoi(s); k == number && err == nil {
		return n, true
	}
	r.add(of(e.value), "%s: want a whole number such as 8%s", e.path, got(s, k))
	return 0, false
}

func got(s string, k kind) string {
	switch k {
	case compound:
		return ""
	case null:
		return ", got nothing"
	case text:
		return ", got " + quote(s)
	case number, boolean, doubtful:
	}
	return ", got " + clip(s)
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// duration reads a text with units, or with Ms behind the key a number of milliseconds.
func (r *reader) duration(e item) (time.Duration, bool) {
	if strings.HasSuffix(e.as, "Ms") || strings.HasSuffix(e.as, "_ms") {
		n, ok := r.integer(e)
		if ok && (n < 0 || n > int(arg.Year/time.Millisecond)) {
			r.add(of(e.value), "%s: want 0 to %d, got %d", e.path, arg.Year/time.Millisecond, n)
			return 0, false
		}
		return time.Duration(n) * time.Millisecond, ok
	}
	s, k := scalar(e.value)
	if k == null || k == compound || k == boolean {
		r.add(of(e.value), "%s: want a duration such as 5s, 2m or 1h30m%s", e.path, got(s, k))
		return 0, false
	}
	d, err := arg.ParseDuration(s, 0, arg.Year)
	if err != nil {
		r.add(of(e.value), "%s: %v", e.path, err)
	}
	return d, err == nil
}

func (r *reader) instant(e item) (time.Time, bool) {
	s, ok := r.text(e)
	if !ok {
		return time.Time{}, false
	}
	var t arg.Time
	if err := t.Set(s); err != nil {
		r.add(of(e.value), "%s: %v", e.path, err)
		return time.Time{}, false
	}
	return t.Value, true
}

// json writes a value as JSON and tells whether that could be done: numbers as they are written, keys in their order.
func (r *reader) json(b *bytes.Buffer, path string, node ast.Node) bool {
	switch n := node.(type) {
	case *ast.SequenceNode:
		ok := true
		b.WriteByte('[')
		for i, v := range n.Values {
			if i > 0 {
				b.WriteByte(',')
			}
			ok = r.json(b, fmt.Sprintf("%s[%d]", path, i), v) && ok
		}
		b.WriteByte(']')
		return ok
	case *ast.MappingNode, *ast.MappingValueNode:
		before := len(r.problems)
		r.object(b, r.items(node, nil, path, ""))
		return len(r.problems) == before
	}
	s, k := scalar(node)
	switch k {
	case number, boolean:
		b.WriteString(s)
	case null:
		b.WriteString("null")
	case text:
		b.Write(encode(s))
	case doubtful:
		r.add(of(node), "%s: %s is not the same to all who read YAML; %s", path, clip(s), meant(s))
		return false
	case compound:
		r.add(of(node), "%s: not a value that JSON has", path)
		return false
	}
	return true
}

func (r *reader) object(b *bytes.Buffer, list []item) {
	b.WriteByte('{')
	for i, e := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(e.key))
		b.WriteByte(':')
		r.json(b, e.path, e.value)
	}
	b.WriteByte('}')
}

// meant says how a doubtful value is written for each of its meanings.
func meant(s string) string {
	switch lower := strings.ToLower(s); lower {
	case "yes", "on", "true":
		return fmt.Sprintf("write true, or %q for the text", s)
	case "no", "off", "false":
		return fmt.Sprintf("write false, or %q for the text", s)
	}
	if n := strings.TrimLeft(strings.ReplaceAll(s, "_", ""), "0+"); jsonNumber.MatchString(n) {
		return fmt.Sprintf("write %s, or %q for the text", clip(n), clip(s))
	}
	return fmt.Sprintf("write a decimal number, or %q for the text", clip(s))
}

func encode(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a text
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
