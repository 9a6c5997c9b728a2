package guards

import (
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite api/stem.txt")

// public are the packages whose exported names are a promise.
var public = []string{
	".", "db", "signing", "signing/encryption", "routing", "queue", "queue/queuetest", "worker", "scheduler", "scheduler/spec", "control", "telemetry", "dashboard",
}

func TestAPI(t *testing.T) {
	t.Parallel()
	files := goFiles(t)
	var patterns []string
	for _, dir := range public {
		if slices.ContainsFunc(files, func(f string) bool {
			return filepath.ToSlash(filepath.Dir(f)) == dir && !strings.HasSuffix(f, "_test.go")
		}) {
			patterns = append(patterns, "./"+dir)
		}
	}
	got := exported(t, goList(t, nil, append([]string{"-deps", "-export", "-json=ImportPath,Name,Standard,Module,Export"}, patterns...)...))

	golden := filepath.Join(root(t), "api", "stem.txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("new, and not in api/stem.txt: %s", line)
		}
	}
	for _, line := range want {
		if line != "" && !slices.Contains(got, line) {
			t.Errorf("in api/stem.txt, but gone or changed: %s", line)
		}
	}
	if t.Failed() {
		t.Log("when the change is meant: go test ./tool/quality/guards -run TestAPI -update, and a line in CHANGELOG.md")
	}
}

// exported describes the exported names of the public packages in the list, one a line, sorted.
func exported(t *testing.T, list []pkg) []string {
	t.Helper()
	data := map[string]string{}
	for _, p := range list {
		data[p.ImportPath] = p.Export
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(data[path])
	})
	var lines []string
	for _, p := range list {
		if !p.own() || !slices.Contains(public, rel(p.ImportPath)) {
			continue
		}
		types, err := imports.Import(p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, describe(types)...)
	}
	slices.Sort(lines)
	return lines
}

// describe writes the exported names of one package as $GOROOT/api does.
func describe(p *types.Package) []string {
	d := describer{pkg: p}
	for _, name := range p.Scope().Names() {
		if token.IsExported(name) {
			d.object(p.Scope().Lookup(name))
		}
	}
	return d.lines
}

type describer struct {
	pkg   *types.Package
	lines []string
}

func (d *describer) line(format string, args ...any) {
	d.lines = append(d.lines, "pkg "+rel(d.pkg.Path())+", "+fmt.Sprintf(format, args...))
}

// text is a type as users of the package write it.
func (d *describer) text(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == d.pkg {
			return ""
		}
		return p.Name()
	})
}

// signature is a function's type without its leading func. Names of parameters are no promise.
func (d *describer) signature(s *types.Signature) string {
	params := types.NewSignatureType(nil, nil, nil, nameless(s.Params()), nameless(s.Results()), s.Variadic())
	return strings.TrimPrefix(d.text(params), "func")
}

func nameless(tuple *types.Tuple) *types.Tuple {
	var vars []*types.Var
	for v := range tuple.Variables() {
		vars = append(vars, types.NewParam(v.Pos(), v.Pkg(), "", v.Type()))
	}
	return types.NewTuple(vars...)
}

func (d *describer) typeParams(list *types.TypeParamList) string {
	var params []string
	for p := range list.TypeParams() {
		params = append(params, p.Obj().Name()+" "+d.text(p.Constraint()))
	}
	if params == nil {
		return ""
	}
	return "[" + strings.Join(params, ", ") + "]"
}

func (d *describer) object(o types.Object) {
	switch o := o.(type) {
	case *types.Const:
		d.line("const %s = %s", o.Name(), o.Val().ExactString())
		d.line("const %s %s", o.Name(), d.text(o.Type()))
	case *types.Var:
		d.line("var %s %s", o.Name(), d.text(o.Type()))
	case *types.Func:
		s := o.Signature()
		d.line("func %s%s%s", o.Name(), d.typeParams(s.TypeParams()), d.signature(s))
	case *types.TypeName:
		d.typeName(o)
	}
}

func (d *describer) typeName(o *types.TypeName) {
	if o.IsAlias() {
		d.line("type %s = %s", o.Name(), d.text(types.Unalias(o.Type())))
		return
	}
	named, ok := o.Type().(*types.Named)
	if !ok {
		return
	}
	head := "type " + o.Name() + d.typeParams(named.TypeParams())
	switch u := named.Underlying().(type) {
	case *types.Struct:
		d.line("%s struct", head)
		for f := range u.Fields() {
			if f.Embedded() && f.Exported() {
				d.line("type %s struct, embedded %s", o.Name(), d.text(f.Type()))
			} else if f.Exported() {
				d.line("type %s struct, %s %s", o.Name(), f.Name(), d.text(f.Type()))
			}
		}
	case *types.Interface:
		// One line for all: a method more is a change for everyone who implements it.
		var methods []string
		closed := ""
		for m := range u.Methods() {
			if m.Exported() {
				methods = append(methods, m.Name()+d.signature(m.Signature()))
			} else {
				closed = ", unexported methods"
			}
		}
		slices.Sort(methods)
		d.line("%s interface { %s }%s", head, strings.Join(methods, "; "), closed)
	case *types.Signature:
		d.line("%s func%s", head, d.signature(u))
	default:
		d.line("%s %s", head, d.text(u))
	}
	d.methods(named)
}

// methods lists those that are declared, and those that come up from unexported embedded types: users call both alike.
func (d *describer) methods(named *types.Named) {
	if types.IsInterface(named) {
		return
	}
	set := types.NewMethodSet(types.NewPointer(named))
	for m := range set.Methods() {
		f, ok := m.Obj().(*types.Func)
		if !ok || !f.Exported() {
			continue
		}
		receiver := named.Obj().Name()
		if types.NewMethodSet(named).Lookup(d.pkg, f.Name()) == nil {
			receiver = "*" + receiver
		}
		d.line("method (%s) %s%s", receiver, f.Name(), d.signature(f.Signature()))
	}
}
