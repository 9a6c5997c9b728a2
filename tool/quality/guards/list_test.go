package guards

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/stemqueue/stem"

// A pkg is what go list says about a package.
type pkg struct {
	ImportPath string
	Name       string
	Export     string // file with export data, when asked for
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string // of non-test code
}

// own reports whether the package belongs to Stem.
func (p pkg) own() bool { return p.Module != nil && p.Module.Path == module }

// rel is the package's path in the module; "." is the root.
func rel(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// goList runs go list with the arguments in the root of the module, with more environment.
func goList(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	var list []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// root returns the directory of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// goFiles returns the module's Go files, relative to its root. Looking at each of them here also tells Go's test cache
// that the result depends on them, which it cannot see from what go list reads.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	top := root(t)
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "tmp" || exists(filepath.Join(name, "go.mod"))) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		if _, err := os.Stat(name); err != nil {
			return err
		}
		short, err := filepath.Rel(top, name)
		files = append(files, filepath.ToSlash(short))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
