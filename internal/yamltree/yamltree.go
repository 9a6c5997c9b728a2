// Package yamltree parses YAML and JSON that people write by hand into a tree with positions, and refuses what such a file has no use
// for and what is dangerous to parse.
package yamltree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxBytes is how long a file may be.
const MaxBytes = 1 << 20

const maxIndent = 200

// A Mistake is what makes a file no tree.
type Mistake struct {
	Line, Column int // from 1, in characters; 0 where it is the file as a whole
	Text         string
}

// Parse returns the root of the one document of a file, nil of one that is empty, and the text that positions refer to. The parser recurses,
// and a megabyte of brackets would end the process: depth is how far brackets and lists may be nested.
func Parse(data []byte, depth int) (root ast.Node, text string, wrong []Mistake) {
	text, mistake := clean(data)
	if mistake != nil {
		return nil, text, []Mistake{*mistake}
	}
	tokens := lexer.Tokenize(text)
	if wrong = refuse(tokens, depth); len(wrong) > 0 {
		return nil, text, wrong
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		return nil, text, []Mistake{at(syntax.Token, explained(syntax.Message))}
	}
	if err != nil {
		return nil, text, []Mistake{{Text: "not YAML"}}
	}
	docs := slices.DeleteFunc(slices.Clone(parsed.Docs), func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0:
		return nil, text, nil
	case 1:
		return docs[0].Body, text, nil
	}
	return nil, text, []Mistake{at(Place(docs[1].Body), "a second document; want one")}
}

// Place returns the token at which a node begins: of a mapping without braces its first key.
func Place(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return Place(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// clean returns the text of a file with a line feed at the end of each line, or why it has none.
func clean(data []byte) (string, *Mistake) {
	if len(data) > MaxBytes {
		return "", &Mistake{Text: "larger than 1 MiB"}
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) ||
		len(data) > 1 && (data[0] == 0) != (data[1] == 0) {
		return "", &Mistake{Line: 1, Column: 1, Text: "UTF-16; save as UTF-8"}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	line, column := 1, 1
	for i, c := range text {
		problem := ""
		switch {
		case c == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			problem = "not UTF-8"
		case c < ' ' && c != '\t' && c != '\n' || c == 0x7f:
			problem = fmt.Sprintf("control character %U", c)
		}
		if problem != "" {
			return text, &Mistake{line, column, problem}
		}
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") || strings.HasPrefix(strings.TrimSpace(text), "[") {
		text = untabbed(text)
	}
	return text, nil
}

// untabbed replaces the tabs that indent JSON, which YAML does not have.
func untabbed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " \t")
		b.WriteString(strings.Repeat(" ", len(line)-len(rest)) + rest)
	}
	return b.String()
}

func at(t *token.Token, text string) Mistake {
	if t == nil || t.Position == nil {
		return Mistake{Text: text}
	}
	return Mistake{max(t.Position.Line, 1), max(t.Position.Column, 1), text}
}

// explained is a message of the parser with what to do.
func explained(message string) string {
	switch {
	case strings.Contains(message, "character '\t'"):
		return "tabs cannot indent YAML"
	case strings.Contains(message, "is a reserved character"):
		return message + "; quote the text"
	case message == "mapping value is not allowed in this context":
		return message + `; quote a text that has ": " in it`
	}
	return message
}

// refuse finds what is not supported in tokens, before they are parsed.
func refuse(tokens token.Tokens, most int) (wrong []Mistake) {
	depth, run := 0, 0 // of brackets; of "- - -" in one line
	line := 0
	add := func(t *token.Token, text string) {
		if n := len(wrong); n == 0 || wrong[n-1].Line != t.Position.Line || wrong[n-1].Text != text { // * * * * * is one mistake
			wrong = append(wrong, at(t, text))
		}
	}
	for _, t := range tokens {
		switch t.Type { //nolint:exhaustive // the others are harmless
		case token.AnchorType, token.MergeKeyType:
			add(t, "anchors, aliases and merge keys are not supported; write the value out")
		case token.AliasType:
			add(t, `a text that begins with * must be quoted, and aliases are not supported`)
		case token.TagType, token.DirectiveType:
			add(t, "tags and directives are not supported")
		case token.InvalidType:
			add(t, explained(cmp.Or(t.Error, "not YAML")))
			return wrong
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if t.Position.Line != line {
				line, run = t.Position.Line, 0
			}
			if depth == 0 {
				run++
			}
		}
		if text := tabs(t); text != "" {
			add(t, text)
		}
		if depth > most || run > most || t.Position.IndentNum > maxIndent {
			add(t, "nested too deep")
			return wrong
		}
	}
	return wrong
}

// tabs says what is wrong with the tabs of a token. The lexer takes some for indentation, and drops those inside of a text without quotes.
func tabs(t *token.Token) string {
	if !strings.Contains(t.Origin, "\t") || t.Type == token.CommentType {
		return ""
	}
	rest := strings.TrimLeft(t.Origin, " \t\n")
	before := t.Origin[:len(t.Origin)-len(rest)]
	switch {
	case strings.Contains(before, "\n") && strings.Contains(before[strings.LastIndexByte(before, '\n'):], "\t"):
		return "tabs cannot indent YAML"
	case (t.Prev == nil || t.Prev.Type != token.LiteralType && t.Prev.Type != token.FoldedType) &&
		t.Type != token.DoubleQuoteType && t.Type != token.SingleQuoteType && strings.Contains(strings.TrimRight(rest, " \t\n"), "\t"):
		return "a tab inside of a text; quote the text"
	}
	return ""
}
