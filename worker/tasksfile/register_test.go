package tasksfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/internal/claim"
	"github.com/stemqueue/stem/worker"
)

func TestRegisterAddsEveryTask(t *testing.T) {
	t.Parallel()
	f, err := Load("../../examples/tasks/tasks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var reg worker.Registry
	f.Register(&reg)
	if want := []string{"hello", "patient", "strict"}; !slices.Equal(reg.Tasks(), want) {
		t.Error(cmp.Diff(want, reg.Tasks()))
	}
}

func TestKindSaysHowATaskIsRun(t *testing.T) {
	t.Parallel()
	f, err := Parse("t.yaml", []byte("tasks:\n  call: {http: {url: \"http://127.0.0.1:1/\"}}\n  run: {command: [sh]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, task := range f.Tasks {
		got[task.Name] = task.kind()
	}
	if diff := cmp.Diff(map[string]string{"call": "http", "run": "command"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAnOutcomeIsToTheWorker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ script, err, result string }{
		{"echo 1", "<nil>", "1"},
		{"true", "<nil>", ""},
		{"exit 75", "*worker.snoozeError", ""},
		{"exit 65", "*worker.discardError", ""},
	} {
		run := newRun("{}")
		run.Claim = &claim.Claim{}
		err := shell(t, tt.script, "").handle(t.Context(), run)
		if got := fmt.Sprintf("%T", err); got != tt.err {
			t.Errorf("%s: got %s, want %s", tt.script, got, tt.err)
		}
		if got := string(run.Claim.Result()); got != tt.result {
			t.Errorf("%s: result %q, want %q", tt.script, got, tt.result)
		}
	}
	if err := shell(t, "echo no >&2; exit 1", "").handle(t.Context(), newRun("{}")); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("exit 1: got %v", err)
	}
}
