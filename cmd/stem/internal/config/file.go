package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

const (
	fileName  = "stem.yaml"
	fileLimit = 1 << 20
)

// file lays stem.yaml over the defaults: the one of --config, else the first that there is.
func (l *loader) file() {
	if l.src.File != "" {
		l.readFile(l.src.File)
		return
	}
	xdg := l.env["XDG_CONFIG_HOME"]
	if xdg == "" && l.env["HOME"] != "" {
		xdg = filepath.Join(l.env["HOME"], ".config")
	}
	system := l.src.SystemDir
	if system == "" {
		system = "/etc/stem"
	}
	places := []string{filepath.Join(l.src.Dir, fileName)}
	if xdg != "" {
		places = append(places, filepath.Join(xdg, "stem", fileName))
	}
	for _, path := range append(places, filepath.Join(system, fileName)) {
		if _, err := os.Stat(path); err == nil {
			l.readFile(path)
			return
		}
	}
}

func (l *loader) readFile(path string) {
	text, err := readLimited(path)
	if err != nil {
		l.add(err)
		return
	}
	shown := path
	if filepath.Dir(path) == filepath.Clean(l.src.Dir) {
		shown = filepath.Base(path)
	}
	l.parseFile(shown, text)
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, fault.New(fault.ExitNoInput, "input_missing", "%s: %s", path, err).About(path)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err != nil {
		return nil, fault.New(fault.ExitNoInput, "input_missing", "%s: cannot be read", path).About(path).Because(err)
	}
	if len(text) > fileLimit {
		return nil, fault.Config("bad_file", "%s: larger than 1 MiB", path).About(path)
	}
	return text, nil
}

// parseFile takes the settings out of YAML and reports every key that is none, with its line and column.
func (l *loader) parseFile(path string, text []byte) {
	parsed, err := parser.ParseBytes(text, 0)
	if err != nil {
		where, message := path, "not YAML"
		if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
			where, message = at(path, syntax.Token), syntax.Message
		}
		l.add(fault.Config("bad_yaml", "%s: %s", where, message).About(where))
		return
	}
	docs := slices.DeleteFunc(slices.Clone(parsed.Docs), func(d *ast.DocumentNode) bool { return d.Body == nil })
	if len(docs) > 1 {
		l.add(fault.Config("bad_yaml", "%s: more than one document", path).About(path))
		return
	}
	for _, d := range docs {
		l.walk(path, "", d.Body)
	}
}

func (l *loader) walk(path, prefix string, node ast.Node) {
	var entries []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	case *ast.CommentGroupNode, *ast.NullNode:
		return
	default:
		where := at(path, node.GetToken())
		l.add(fault.Config("bad_yaml", "%s: want key: value", where).About(where))
		return
	}
	for _, e := range entries {
		l.entry(path, prefix+e.Key.GetToken().Value, e)
	}
}

func (l *loader) entry(path, key string, e *ast.MappingValueNode) {
	where := at(path, e.Key.GetToken())
	keys := fileKeys()
	if !slices.Contains(keys, key) {
		if slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, key+".") }) {
			l.walk(path, key+".", e.Value)
			return
		}
		text := fmt.Sprintf("%s: unknown setting %q", where, key)
		if near, ok := nearest.Name(key, slices.Values(keys)); ok {
			text += ". Did you mean " + near + "?"
		}
		l.add(fault.Config("unknown_setting", "%s", text).About(where))
		return
	}
	value, ok := scalar(e.Value)
	switch {
	case !ok:
		l.add(fault.Config("bad_setting", "%s: %s: want a single value", where, key).About(where))
	case value != "":
		l.lay(key, value, where)
	}
}

// scalar is the text of a value as it stands in the file; a list is joined by commas.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case *ast.SequenceNode:
		parts := make([]string, len(n.Values))
		for i, v := range n.Values {
			text, ok := scalar(v)
			if _, nested := v.(*ast.SequenceNode); nested || !ok {
				return "", false
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func fileKeys() []string {
	keys := []string{"database_url", "listen_url"}
	for _, s := range settings() {
		keys = append(keys, s.key)
	}
	return keys
}

func at(path string, t *token.Token) string {
	if t == nil || t.Position == nil {
		return path
	}
	return fmt.Sprintf("%s:%d:%d", path, t.Position.Line, t.Position.Column)
}
