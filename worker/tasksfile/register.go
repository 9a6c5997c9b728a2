package tasksfile

import (
	"context"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// Register adds a handler for each task of the file. It panics when the registry has one of them already: see
// worker.Registry.
func (f *File) Register(reg *worker.Registry) {
	for _, t := range f.Tasks {
		reg.HandleFunc(t.Name, t.handle, t.defaults()...)
		reg.SetKind(t.Name, t.kind())
	}
}

func (t *Task) kind() string {
	if t.HTTP != nil {
		return "http"
	}
	return "command"
}

// defaults are what listings show; producers decide for themselves.
func (t *Task) defaults() []queue.Option {
	var options []queue.Option
	if t.Queue != "" {
		options = append(options, queue.On(t.Queue))
	}
	if t.MaxAttempts > 0 {
		options = append(options, queue.MaxAttempts(t.MaxAttempts))
	}
	if t.HardLimit > 0 {
		options = append(options, queue.HardLimit(t.HardLimit))
	}
	return options
}

// handle runs one job and tells the worker what to do with it.
func (t *Task) handle(ctx context.Context, run *queue.Run) error {
	report := t.Run(ctx, run)
	switch report.Outcome {
	case Completed:
		if report.Result == nil {
			return nil
		}
		return run.SetResult(report.Result)
	case PutBack:
		return worker.Snooze(report.Delay)
	case Dead:
		return worker.Discard(report.Err)
	default:
		return report.Err
	}
}
