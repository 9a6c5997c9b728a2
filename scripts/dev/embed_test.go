package dev_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dev "github.com/stemqueue/stem/scripts/dev"
)

func ensure(t *testing.T, cache string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-c", dev.EnsurePostgres, "ensure-postgres.sh"}, args...)...)
	cmd.Env = append(os.Environ(), "STEM_PG_CACHE="+cache)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--major", "13"}, "--major 13: Stem supports 14 to 18"},
		{[]string{"--major"}, "--major needs a number"},
		{[]string{"--magor", "15"}, "unknown argument --magor"},
	} {
		out, err := ensure(t, t.TempDir(), test.args...)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%q: got %q (%v), want %q", test.args, out, err, test.want)
		}
	}
}

func TestWhatIsThereIsNotFetchedAgain(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/lib/postgresql/17"); err == nil {
		t.Skip("the distribution has Postgres 17, which goes before the cache")
	}
	cache := t.TempDir()
	bin := filepath.Join(cache, "pg", "17", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ flag, want string }{{"--print-bin", bin}, {"--major=17", "STEM_PG_BIN=" + bin}} {
		if out, err := ensure(t, cache, "--major", "17", test.flag); err != nil || out != test.want {
			t.Errorf("%s: got %q (%v), want %q", test.flag, out, err, test.want)
		}
	}
}
