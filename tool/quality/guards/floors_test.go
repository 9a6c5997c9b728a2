package guards

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// floors says on which floor a top-level directory lives. A package may import what is on a lower floor and what is
// under its own top-level directory. A new directory gets its line here before it gets its first import.
var floors = map[string]int{
	"cmd": 4, "integration": 4, "chaos": 4, "examples": 4, ".": 4,
	"telemetry": 3, "dashboard": 3,
	"worker": 2, "scheduler": 2, "control": 2,
	"queue":   1,
	"signing": 0, "routing": 0, "db": 0, "internal": 0, "scripts": 0,
}

// ground says what packages of floor 0 may import besides the standard library. internal is for every package under it.
var ground = map[string][]string{
	"signing":  {module + "/internal/keylist", module + "/internal/nearest", module + "/internal/secretfile"}, // standard library only, too
	"routing":  {"github.com/goccy/go-yaml"},
	"db":       {"github.com/jackc/pgx", "github.com/jackc/pgerrcode", "github.com/pressly/goose", module + "/internal"},
	"internal": {"github.com/jackc/pgx", "github.com/google/uuid", "golang.org/x/sync", "golang.org/x/sys", "github.com/goccy/go-yaml", module + "/internal", module + "/scripts"},
}

// A fence keeps modules to some directories. It looks through foreign packages: importing one that imports a fenced
// module is importing that module.
type fence struct {
	what    string
	modules []string
	allowed []string // top-level directories
}

var fences = []fence{
	{"OpenTelemetry", []string{"go.opentelemetry.io"}, []string{"telemetry", "cmd"}},
	{"cobra and viper", []string{"github.com/spf13/cobra", "github.com/spf13/viper"}, []string{"cmd"}},
	{"goose", []string{"github.com/pressly/goose"}, []string{"db"}},
	{"a test-only module", []string{
		"github.com/testcontainers", "github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak",
		"github.com/rogpeppe/go-internal", "github.com/stretchr/testify", "testing",
	}, nil},
}

// helper reports whether a package exists for tests: internal/pgtest, queue/queuetest and the like. It may import what
// it needs, and only tests may import it.
func helper(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return path != last && strings.HasSuffix(last, "test")
}

func TestFloors(t *testing.T) {
	goFiles(t)
	// The other systems' files have imports too.
	for _, goos := range []string{"linux", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			list := goList(t, []string{"GOOS=" + goos, "CGO_ENABLED=0"}, "-deps", "-json=ImportPath,Name,Standard,Module,Imports", "./...")
			for _, wrong := range trespasses(list) {
				t.Error(wrong)
			}
		})
	}
}

// trespasses returns a line for each import of non-test code that the floors and fences do not allow.
func trespasses(list []pkg) []string {
	byPath := map[string]pkg{}
	for _, p := range list {
		byPath[p.ImportPath] = p
	}
	var wrong []string
	for _, p := range list {
		if !p.own() {
			continue
		}
		from := rel(p.ImportPath)
		top, _, _ := strings.Cut(from, "/")
		if top == "tool" {
			continue
		}
		if _, known := floors[top]; !known {
			wrong = append(wrong, from+" is on no floor: add "+top+" to the table in tool/quality/guards")
			continue
		}
		for _, i := range p.Imports {
			if why := upward(from, top, byPath[i]); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", from, rel(i), why))
			}
			if helper(from) {
				continue
			}
			for _, f := range fences {
				if through := f.behind(byPath, i); through != "" && !slices.Contains(f.allowed, top) {
					wrong = append(wrong, fmt.Sprintf("%s imports %s, which leads to %s: %s stays in %s",
						from, i, through, f.what, strings.Join(append(f.allowed, "tests"), ", ")))
				}
			}
		}
	}
	return wrong
}

// upward says why a package may not import another, or nothing.
func upward(from, top string, to pkg) string {
	path := to.ImportPath
	target := rel(path)
	targetTop, _, _ := strings.Cut(target, "/")
	switch {
	case to.Standard:
		return ""
	case to.own() && helper(target) && !helper(from):
		return "a helper of tests"
	case helper(from) && top != "queue":
		return "" // test helpers stand outside the house, but users import queuetest
	case floors[top] == 0:
		if top != targetTop && !slices.ContainsFunc(ground[top], func(m string) bool { return under(path, m) }) {
			return "not among what " + top + " may import"
		}
		return ""
	case !to.own():
		return ""
	case targetTop == "tool":
		return "a tool"
	case top == targetTop:
		return ""
	case floors[targetTop] == floors[top]:
		return fmt.Sprintf("sideways, both are on floor %d", floors[top])
	case floors[targetTop] > floors[top]:
		return fmt.Sprintf("upward, from floor %d to floor %d", floors[top], floors[targetTop])
	}
	return ""
}

// behind returns the fenced package that is reached from a foreign package or is that package; Stem's own packages are
// judged by their own imports.
func (f fence) behind(byPath map[string]pkg, path string) string {
	seen := map[string]bool{}
	var walk func(path string) string
	walk = func(path string) string {
		p := byPath[path]
		if seen[path] || p.own() {
			return ""
		}
		seen[path] = true
		if slices.ContainsFunc(f.modules, func(m string) bool { return under(path, m) }) {
			return path
		}
		if p.Standard {
			return ""
		}
		for _, i := range p.Imports {
			if through := walk(i); through != "" {
				return through
			}
		}
		return ""
	}
	return walk(path)
}

// under reports whether an import path is a module's, or one of its packages or later major versions.
func under(path, module string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

func TestTrespassesAreFound(t *testing.T) {
	t.Parallel()
	std := func(path string) pkg { return pkg{ImportPath: path, Standard: true} }
	foreign := func(path string, imports ...string) pkg {
		return pkg{ImportPath: path, Module: &struct{ Path string }{path}, Imports: imports}
	}
	world := []pkg{
		std("fmt"), std("testing"),
		foreign("github.com/jackc/pgx/v5", "fmt"), foreign("github.com/goccy/go-yaml"), foreign("github.com/pressly/goose/v3"),
		foreign("go.opentelemetry.io/otel"), foreign("github.com/exaring/otelpgx", "go.opentelemetry.io/otel"),
		foreign("github.com/spf13/cobra"), foreign("pgregory.net/rapid", "testing"), foreign("github.com/google/go-cmp/cmp"),
		foreign("github.com/testcontainers/testcontainers-go", "go.opentelemetry.io/otel"),
	}
	own := func(path string, imports ...string) pkg {
		for n, i := range imports {
			imports[n] = strings.Replace(i, "~", module, 1)
		}
		return pkg{ImportPath: strings.TrimSuffix(module+"/"+path, "/."), Module: &struct{ Path string }{module}, Imports: imports}
	}
	bare := []string{
		".", "cmd/stem", "cmd/stem/internal/cli", "integration", "examples/mail", "telemetry", "dashboard", "worker", "scheduler",
		"control", "queue", "queue/queuetest", "signing", "routing", "db", "internal/store", "internal/listen", "internal/pgtest",
	}

	tests := []struct {
		name  string
		p     pkg
		wants string // part of the one line; empty: allowed
	}{
		{"up one floor", own("queue", "~/worker"), "queue imports worker: upward, from floor 1 to floor 2"},
		{"up from the ground", own("internal/listen", "~/queue"), "not among what internal may import"},
		{"to the root", own("worker", "~"), "worker imports .: upward"},
		{"to the command", own("dashboard", "~/cmd/stem/internal/cli"), "upward, from floor 3 to floor 4"},
		{"worker and scheduler", own("scheduler", "~/worker"), "sideways, both are on floor 2"},
		{"control and worker", own("control", "~/worker"), "sideways"},
		{"telemetry and dashboard", own("dashboard", "~/telemetry"), "sideways"},
		{"signing and routing", own("signing", "~/routing"), "not among what signing may import"},
		{"signing is the standard library only", own("signing", "github.com/jackc/pgx/v5"), "not among what signing may import"},
		{"YAML on the ground is for routing", own("db", "github.com/goccy/go-yaml"), "not among what db may import"},
		{"goose is for db", own("worker", "github.com/pressly/goose/v3"), "goose stays in db, tests"},
		{"OpenTelemetry in the worker", own("worker", "go.opentelemetry.io/otel"), "OpenTelemetry stays in telemetry, cmd, tests"},
		{"OpenTelemetry through another module", own("control", "github.com/exaring/otelpgx"), "leads to go.opentelemetry.io/otel"},
		{"cobra in a library", own("dashboard", "github.com/spf13/cobra"), "cobra and viper stays in cmd, tests"},
		{"a test-only module", own("queue", "github.com/google/go-cmp/cmp"), "a test-only module stays in tests"},
		{"package testing", own("queue", "testing"), "a test-only module stays in tests"},
		{"a helper in non-test code", own("worker", "~/internal/pgtest"), "worker imports internal/pgtest: a helper of tests"},
		{"a helper in the command", own("cmd/stem", "~/queue/queuetest"), "a helper of tests"},
		{"users' helpers keep to their floor", own("queue/queuetest", "~/worker"), "upward, from floor 1 to floor 2"},
		{"a tool", own("worker", "~/tool/quality/coverage"), "a tool"},
		{"an unknown directory", own("util/strings", "fmt"), "util/strings is on no floor"},

		{"down", own("worker", "~/queue", "~/signing", "~/internal/store", "github.com/jackc/pgx/v5", "fmt"), ""},
		{"the command", own("cmd/stem", "~/cmd/stem/internal/cli", "~/telemetry", "github.com/spf13/cobra", "go.opentelemetry.io/otel"), ""},
		{"telemetry", own("telemetry", "~/worker", "go.opentelemetry.io/otel", "github.com/exaring/otelpgx"), ""},
		{"examples with telemetry", own("examples/mail", "~/telemetry", "~/worker"), ""},
		{"db", own("db", "github.com/pressly/goose/v3", "github.com/jackc/pgx/v5", "~/internal/store"), ""},
		{"routing", own("routing", "github.com/goccy/go-yaml"), ""},
		{"internal to internal", own("internal/listen", "~/internal/store", "github.com/jackc/pgx/v5"), ""},
		{"pgtest", own("internal/pgtest", "~/db", "testing", "github.com/testcontainers/testcontainers-go"), ""},
		{"queuetest", own("queue/queuetest", "~/queue", "testing", "github.com/google/go-cmp/cmp"), ""},
		{"a tool may have what it likes", own("tool/x", "~/worker", "github.com/spf13/cobra"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := append(slices.Clone(world), own("tool/quality/coverage"), tt.p)
			for _, path := range bare {
				if p := own(path); p.ImportPath != tt.p.ImportPath {
					if path == "telemetry" {
						p.Imports = []string{"go.opentelemetry.io/otel"}
					}
					list = append(list, p)
				}
			}
			got := trespasses(list)
			switch {
			case tt.wants == "" && len(got) > 0:
				t.Errorf("got %q, want nothing", got)
			case tt.wants != "" && (len(got) != 1 || !strings.Contains(got[0], tt.wants)):
				t.Errorf("got %q, want one line with %q", got, tt.wants)
			}
		})
	}
}
