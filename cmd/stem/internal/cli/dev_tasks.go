package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// sampleArgs are the arguments of the sample tasks of "stem dev"; each uses one of them.
type sampleArgs struct {
	Name    string  `json:"name"`
	Message string  `json:"message"`
	Seconds float64 `json:"seconds"`
}

type sampleJob = queue.Job[sampleArgs]

// addSamples registers the sample tasks whose names are free.
func addSamples(reg *worker.Registry) {
	sample(reg, "hello", func(_ context.Context, job *sampleJob) error {
		if job.Args.Name == "" {
			return worker.Discard(errors.New(`want {"name":"..."}`))
		}
		return job.SetResult(map[string]string{"greeting": "Hello, " + job.Args.Name})
	})
	sample(reg, "fail", func(_ context.Context, job *sampleJob) error {
		if job.Args.Message == "" {
			return errors.New("this task always fails")
		}
		return errors.New(job.Args.Message)
	})
	sample(reg, "sleep", func(ctx context.Context, job *sampleJob) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(job.Args.Seconds * float64(time.Second))):
			return nil
		}
	})
}

func sample(reg *worker.Registry, task string, handler func(context.Context, *sampleJob) error) {
	if !slices.Contains(reg.Tasks(), task) {
		worker.Handle(reg, queue.NewTask[sampleArgs](task), handler)
	}
}
