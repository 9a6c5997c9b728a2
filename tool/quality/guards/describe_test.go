package guards

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	const src = `package queue

import ("context"; "time")

const Limit = 10
const Wait time.Duration = 5
var ErrGone error
type Config struct { Size int; Next *Config; hidden int; time.Time; inner }
type inner struct{}
func (inner) Promoted() {}
func (c *Config) Run(ctx context.Context) error { return nil }
func (c Config) String() string { return "" }
func (c *Config) hide() {}
type Task[A any] struct{}
func (t *Task[A]) New(a A) A { return a }
func NewTask[A any](name string, opts ...int) *Task[A] { return nil }
type Door interface { Open(n int) error; Close() }
type Closed interface { Open(); shut() }
type Handler func(ctx context.Context) error
type Kind string
type Same = Config
func private() {}
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "queue.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	p, err := conf.Check(module+"/queue", fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(`const Limit = 10
const Limit untyped int
const Wait = 5
const Wait time.Duration
func NewTask[A any](string, ...int) *Task[A]
type Closed interface { Open() }, unexported methods
type Config struct
type Config struct, Next *Config
type Config struct, Size int
type Config struct, embedded time.Time
type Door interface { Close(); Open(int) error }
type Handler func(context.Context) error
type Kind string
type Same = Config
type Task[A any] struct
method (*Config) Run(context.Context) error
method (*Task) New(A) A
method (Config) Promoted()
method (Config) String() string
var ErrGone error`, "\n")
	got := describe(p)
	for _, line := range want {
		if !slices.Contains(got, "pkg queue, "+line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range got {
		line = strings.TrimPrefix(line, "pkg queue, ")
		if strings.Contains(line, "hidden") || strings.Contains(line, "hide") || strings.Contains(line, "private") || strings.Contains(line, "inner") {
			t.Errorf("not exported: %s", line)
		}
	}
}
