package devpg

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fakeServer makes a directory with programs that claim to be a Postgres of that version.
func fakeServer(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fakeProgram(t, filepath.Join(dir, "initdb"), "exit 1")
	fakeProgram(t, filepath.Join(dir, "postgres"), "echo 'postgres (PostgreSQL) "+version+" (Fake 1)'")
	return dir
}

func fakeProgram(t *testing.T, path, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// fakeLadder stands in an empty world: the environment is env, and the only usual place is usual/*/bin below root.
func fakeLadder(t *testing.T, root string, env map[string]string) *ladder {
	t.Helper()
	env["STEM_PG_CACHE"] = filepath.Join(root, "cache")
	l := &ladder{
		Config: Config{
			Getenv: func(key string) string { return env[key] }, URLVar: "STEM_DATABASE_URL",
			Log: func(s string) { t.Log(s) },
		},
		places: []string{filepath.Join(root, "usual", "*", "bin")},
	}
	var err error
	if l.account, err = serverAccount(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTheNewestServerOfTheUsualPlacesWins(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	for _, version := range []string{"9.6.24", "15.18", "18beta1", "13.2"} {
		fakeServer(t, filepath.Join(root, "usual", version, "bin"), version)
	}
	for _, test := range []struct {
		major int
		want  string
	}{{0, "18beta1"}, {15, "15.18"}, {18, "18beta1"}, {16, ""}, {13, ""}} {
		l := fakeLadder(t, root, map[string]string{})
		l.Major = test.major
		found, ok := l.installed(t.Context())
		if ok != (test.want != "") || found.version != test.want {
			t.Errorf("major %d: got %q (%v), want %q", test.major, found.version, l.tried, test.want)
		}
	}
}

func TestPathWinsOverTheUsualPlacesAndLinksAreFollowed(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	fakeServer(t, filepath.Join(root, "usual", "18", "bin"), "18.1")
	opt := fakeServer(t, filepath.Join(root, "opt"), "16.2")
	linked := filepath.Join(root, "bin") // holds postgres and no initdb
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(opt, "postgres"), filepath.Join(linked, "postgres")); err != nil {
		t.Fatal(err)
	}
	l := fakeLadder(t, root, map[string]string{"PATH": linked})
	if found, ok := l.installed(t.Context()); !ok || found.dir != opt || found.major != 16 {
		t.Errorf("got %+v (%v), want the one in %s", found, l.tried, opt)
	}

	fakeProgram(t, filepath.Join(linked, "pg_config"), "echo "+fakeServer(t, filepath.Join(root, "conf"), "17.3"))
	l = fakeLadder(t, root, map[string]string{"PATH": linked + ":/bin"})
	if found, ok := l.installed(t.Context()); !ok || found.version != "17.3" {
		t.Errorf("got %+v (%v), want the one that pg_config names", found, l.tried)
	}
}

func TestFetchedServerIsTheOneThatTheScriptPrints(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	bin := fakeServer(t, filepath.Join(root, "fetched"), "17.9")
	// A bash that is handed the script and only looks at what it was asked.
	fakeProgram(t, filepath.Join(root, "bin", "bash"),
		`[ "$1 $3 $4 $5 $6" = "-c ensure-postgres.sh --print-bin --major 17" ] && echo working >&2 && echo `+bin)
	l := fakeLadder(t, root, map[string]string{"PATH": filepath.Join(root, "bin")})
	l.Fetch, l.Major = true, 17
	var said []string
	l.Log = func(s string) { said = append(said, s) }
	found, ok := l.fetched(t.Context())
	if !ok || found.dir != bin {
		t.Errorf("got %+v (%v), want %s", found, l.tried, bin)
	}
	if len(said) != 2 || !strings.Contains(said[0], "running the embedded") || said[1] != "working" {
		t.Errorf("got log %q", said)
	}
}

func TestCacheIsARungOfItsOwn(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	fakeServer(t, filepath.Join(root, "cache", "pg", "14", "bin"), "14.23")
	fakeServer(t, filepath.Join(root, "cache", "pg", "18", "bin"), "18.4")
	if found, ok := fakeLadder(t, root, map[string]string{}).cached(t.Context()); !ok || found.version != "18.4" {
		t.Errorf("got %+v, want 18.4", found)
	}
}

func TestWhatTheEnvironmentNamesIsUsedOrRefused(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	fakeServer(t, filepath.Join(root, "usual", "18", "bin"), "18.1") // must not be taken instead
	old := fakeServer(t, filepath.Join(root, "old"), "13.9")
	for _, test := range []struct{ key, value, want string }{
		{"STEM_PG_BIN", root + "/nowhere", "STEM_PG_BIN: " + root + "/nowhere holds no postgres"},
		{"STEM_PG_BIN", old, "is Postgres 13.9: too old, Stem needs 14 or newer"},
		{"STEM_DATABASE_URL", "host=localhost", "STEM_DATABASE_URL: not a URL of the form postgres://"},
		{"STEM_DATABASE_URL", "postgres://x@127.0.0.1:1/x", "connection refused"}, // a port that no server of these tests is given
	} {
		_, err := fakeLadder(t, root, map[string]string{test.key: test.value}).climb(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%s: got error %v, want %q", test.key, test.value, err, test.want)
		}
	}
}

func TestURLIsUsedAndNothingStarted(t *testing.T) {
	t.Parallel()
	private := startHere(t, Config{})
	env := func(string) string { return private.URL }
	server, err := Start(t.Context(), Config{Getenv: env, URLVar: "STEM_DATABASE_URL"})
	if err != nil {
		t.Fatal(err)
	}
	if server.Rung != RungURL || server.Major != private.Major || server.CACert != private.CACert || server.PID() != 0 {
		t.Errorf("got %+v", server)
	}
	if err := errors.Join(server.Stop(t.Context()), private.Restart(t.Context())); err != nil {
		t.Errorf("the server of somebody else is to be left alone: %v", err)
	}
	if err := server.Kill(t.Context()); !errors.Is(err, errNotPrivate) {
		t.Errorf("got error %v, want %v", err, errNotPrivate)
	}
	if _, err := Start(t.Context(), Config{Getenv: env, URLVar: "STEM_DATABASE_URL", Major: 99}); err == nil {
		t.Error("a server of another major version was taken")
	}
}

func TestNothingFoundNamesEveryRungAndTheRemedy(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	fakeServer(t, filepath.Join(root, "usual", "13", "bin"), "13.9")
	fakeProgram(t, filepath.Join(root, "bin", "apt-get"), "exit 1")
	noEngine := func(context.Context) (string, func(context.Context) error, error) {
		return "", nil, errors.New("no engine\nanswers")
	}
	for _, test := range []struct {
		golden string
		change func(*ladder, map[string]string)
	}{
		{"notfound-dev.golden", func(l *ladder, env map[string]string) {
			l.Fetch, env["STEM_PG_FETCH"] = true, "never"
		}},
		{"notfound-test.golden", func(l *ladder, _ map[string]string) {
			l.Fetch, l.Major, l.Container, l.URLVar = true, 14, noEngine, "STEM_TEST_DATABASE_URL"
		}},
	} {
		env := map[string]string{"PATH": filepath.Join(root, "bin")}
		l := fakeLadder(t, root, env)
		test.change(l, env)
		_, err := l.climb(t.Context())
		if _, ok := asNotFound(err); !ok {
			t.Fatalf("got error %v, want a *NotFoundError", err)
		}
		got := strings.NewReplacer(root, "ROOT", "sudo ", "").Replace(err.Error()) + "\n"
		golden := filepath.Join("testdata", test.golden)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, string(want)); diff != "" {
			t.Errorf("%s (-got +want; -update rewrites it):\n%s", golden, diff)
		}
	}
}
