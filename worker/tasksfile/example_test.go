package tasksfile_test

import (
	"context"
	"fmt"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker/tasksfile"
)

func ExampleTask_Run() {
	file, err := tasksfile.Load("../../examples/tasks/tasks.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, payload := range []string{`{"name": "Ada \"the\" Countess"}`, `{}`} {
		report := file.Tasks[0].Run(context.Background(), &queue.Run{
			Envelope: queue.Envelope{Task: "hello", Payload: []byte(payload)},
			Attempt:  1,
		})
		if report.Err != nil {
			fmt.Println(report.Outcome == tasksfile.Dead, report.Err)
			continue
		}
		fmt.Println(string(report.Result))
	}
	// Output:
	// {"greeting":"Hello, Ada \"the\" Countess"}
	// true exit status 65: hello: want {"name":"..."}
}
