package guards

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A test that sleeps is slow when it is right and fails when the machine is. In a bubble of testing/synctest sleeping
// costs nothing and is exact.
func TestTestsDoNotSleep(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	for _, name := range goFiles(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, filepath.Join(root(t), name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range sleeps(fset, file) {
			t.Errorf("%s:%d: time.Sleep outside synctest: wait for the condition. In a helper that only bubbles call, "+
				"say so on the line: // bubble: …", name, line)
		}
	}
}

// sleeps returns the lines of calls of time.Sleep outside of synctest.Test that no comment excuses.
func sleeps(fset *token.FileSet, file *ast.File) []int {
	timeName, bubbleName := importName(file, "time"), importName(file, "testing/synctest")
	var excused []int
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "// bubble: ") {
				excused = append(excused, fset.Position(c.Pos()).Line)
			}
		}
	}
	var lines []int
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if isSelector(call.Fun, bubbleName, "Test") {
			return false // whatever is written in the bubble
		}
		line := fset.Position(call.Pos()).Line
		if isSelector(call.Fun, timeName, "Sleep") && !slices.Contains(excused, line) {
			lines = append(lines, line)
		}
		return true
	})
	return lines
}

// importName is what the file calls the package, or nothing when it does not import it.
func importName(file *ast.File, path string) string {
	for _, i := range file.Imports {
		if got, err := strconv.Unquote(i.Path.Value); err != nil || got != path {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || pkg == "" || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func TestSleepsAreFound(t *testing.T) {
	t.Parallel()
	const src = `package x

import ("testing"; "testing/synctest"; clock "time")

func TestA(t *testing.T) {
	clock.Sleep(1)
	synctest.Test(t, func(t *testing.T) {
		clock.Sleep(1)
		go func() { clock.Sleep(1) }()
	})
	wait()
	go func() { clock.Sleep(1) }()
}

func wait() {
	clock.Sleep(1) // bubble: called from TestB
	clock.Sleep(1) // a moment
}
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x_test.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sleeps(fset, file), []int{6, 12, 17}; !slices.Equal(got, want) {
		t.Errorf("got lines %v, want %v", got, want)
	}
}
