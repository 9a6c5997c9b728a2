package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	unit = `mode: atomic
example.com/m/a/a.go:1.1,2.2 8 0
example.com/m/a/a.go:3.1,4.2 2 5
example.com/m/internal/store/q.go:1.1,2.2 100 0
example.com/m/m.go:1.1,2.2 10 1
`
	cli = `mode: atomic
example.com/m/a/a.go:1.1,2.2 8 1
example.com/m/a/a.go:3.1,4.2 2 0
example.com/m/b/b.go:1.1,2.2 10 0
`
)

func TestRun(t *testing.T) {
	tests := []struct {
		name      string
		profiles  []string
		threshold float64
		floors    string
		wantOut   string // one line of the table
		wantErr   string // empty: none
	}{
		{
			name: "a statement run in any profile is covered", profiles: []string{unit, cli}, threshold: 60,
			wantOut: "a                                       10 of    10  100.0%",
		},
		{
			name: "generated code does not count", profiles: []string{unit}, threshold: 60,
			wantOut: "total                                   12 of    20   60.0%",
		},
		{name: "under the threshold", profiles: []string{unit, cli}, threshold: 80, wantErr: "66.7% of all statements is under the threshold of 80%"},
		{name: "under its own floor", profiles: []string{unit}, floors: "a 50", wantErr: "a: 20.0% is under its floor of 50%"},
		{name: "under the floor of all", profiles: []string{cli}, floors: "* 10 # all\na 100", wantErr: "b: 0.0% is under its floor of 10%"},
		{name: "the root package has a floor", profiles: []string{unit}, floors: ". 100"},
		{name: "a floor without a package", profiles: []string{unit}, floors: "gone 10", wantErr: "gone has a floor but no statements"},
		{name: "no statements", profiles: []string{"mode: atomic\n"}, wantErr: "the profiles hold no statements"},
		{name: "not a profile", profiles: []string{"ok  \tm\n"}, wantErr: "line 1: not of a coverage profile"},
		{name: "not a percentage", profiles: []string{unit}, floors: "a 101", wantErr: `"101" is no percentage`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var names []string
			for i, text := range tt.profiles {
				names = append(names, write(t, dir, string(rune('a'+i))+".cover", text))
			}
			var out strings.Builder
			err := run(&out, "example.com/m", tt.threshold, write(t, dir, "floors", tt.floors), "internal/store|examples", names)
			switch {
			case tt.wantErr == "" && err != nil:
				t.Errorf("err = %v", err)
			case tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)):
				t.Errorf("err = %v, want one that says %q", err, tt.wantErr)
			}
			if !strings.Contains(out.String(), tt.wantOut) {
				t.Errorf("no line %q in\n%s", tt.wantOut, out.String())
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
