package guards

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	proofTest   = regexp.MustCompile("`([a-z/]+)` ((?:Test\\w+(?:, )?)+)")
	proofScript = regexp.MustCompile("`script/([a-z_]+\\.txtar)`")
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestProofsExist: what docs/process/scheduler-parity.md names as the proof of a row is there, in the package that it says.
func TestProofsExist(t *testing.T) {
	t.Parallel()
	dir := root(t)
	text, err := os.ReadFile(filepath.Join(dir, "docs/process/scheduler-parity.md"))
	if err != nil {
		t.Fatal(err)
	}
	missing, n := unproven(t, dir, string(text))
	for _, m := range missing {
		t.Errorf("scheduler-parity.md names %s, which is not there", m)
	}
	if n < 40 {
		t.Errorf("%d proofs found in the page", n)
	}
	if missing, _ := unproven(t, dir, "`scheduler` TestNothing, TestResign · `script/none.txtar`"); !slices.Equal(missing, []string{"scheduler TestNothing", "script/none.txtar"}) {
		t.Errorf("of a page with two mistakes: %q", missing)
	}
}

// unproven lists the proofs of a text that are not there, and counts all.
func unproven(t *testing.T, dir, text string) (missing []string, n int) {
	t.Helper()
	tests := map[string]map[string]bool{}
	for _, m := range proofTest.FindAllStringSubmatch(text, -1) {
		if tests[m[1]] == nil {
			tests[m[1]] = testsIn(t, filepath.Join(dir, m[1]))
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(m[2], ", "), ", ") {
			n++
			if !tests[m[1]][name] {
				missing = append(missing, m[1]+" "+name)
			}
		}
	}
	for _, m := range proofScript.FindAllStringSubmatch(text, -1) {
		n++
		if !exists(filepath.Join(dir, "cmd/stem/testdata/script", m[1])) {
			missing = append(missing, "script/"+m[1])
		}
	}
	return missing, n
}

func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
	}
	return found
}
