package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func statLine(head string, utime, stime, cutime, cstime string) string {
	return head + " 1 1 0 -1 0 0 0 0 0 " + utime + " " + stime + " " + cutime + " " + cstime + " 20 0 1 0\n"
}

func TestTheServersCPUIsThePostmasterItsChildrenAndThoseThatEnded(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	for pid, line := range map[string]string{
		"100": statLine("100 (postgres) S 1", "1", "2", "30", "40"),
		"101": statLine("101 (postgres: a) b) S 100", "100", "200", "5", "5"), // its own children are nobody's here
		"102": statLine("102 (other) S 1", "7000", "7000", "0", "0"),
	} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := treeCPU(proc, 100)
	if want := 373 * 10 * time.Millisecond; err != nil || got != want {
		t.Errorf("treeCPU = %v, %v, want %v", got, err, want)
	}
	if _, err := treeCPU(proc, 999); err == nil {
		t.Error("a postmaster that is not there was not noticed")
	}
}

func TestAStatLineThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "12", "12 (x) S 1 2", "x (y) S 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0"} {
		if got, err := parseStat([]byte(line)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", line, got)
		}
	}
}
