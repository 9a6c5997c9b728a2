package tasksfile

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/queue"
)

// The test binary acts as a worker that runs one command, for the test that kills it.
func TestMain(m *testing.M) {
	if script := os.Getenv("TASKSFILE_ACT_AS_WORKER"); script != "" {
		f, err := Parse("tasks.yaml", []byte(`tasks: {t: {command: [sh, -c, '`+script+`']}}`))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		f.Tasks[0].Run(context.Background(), &queue.Run{Envelope: queue.Envelope{Task: "t"}})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var jobID = uuid.MustParse("01932c07-0000-7000-8000-000000000001")

func newRun(payload string) *queue.Run {
	return &queue.Run{
		Envelope: queue.Envelope{
			ID: jobID, Task: "t", Queue: "q", Payload: []byte(payload), Codec: "application/json",
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		},
		Attempt: 3,
	}
}

// shell is a task that runs a script; more is further keys, one a line.
func shell(t *testing.T, script, more string) *Task {
	t.Helper()
	f, err := Parse(t.TempDir()+"/tasks.yaml", fmt.Appendf(nil, "tasks:\n  t:\n    command: [sh, -c, %q]\n%s", script, more))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tasks[0]
}
