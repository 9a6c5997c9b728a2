package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

// enqueued is a job as "stem enqueue" prints it.
type enqueued struct {
	receipt queue.Receipt
	task    string
	queue   string
	result  queue.Result // of --wait; zero when it did not end in time
}

var enqueuedColumns = []output.Column[enqueued]{
	{Header: "ID", Value: func(e enqueued) any { return e.receipt.ID.String() }, Name: true},
	{Header: "Task", Value: func(e enqueued) any { return e.task }},
	{Header: "Queue", Value: func(e enqueued) any { return e.queue }},
	{Header: "Duplicate", Value: func(e enqueued) any { return e.receipt.Duplicate }},
}

// endedColumns come on top with --wait.
var endedColumns = []output.Column[enqueued]{
	{Header: "State", Value: func(e enqueued) any { return absentIfEmpty(e.result.State) }, Tone: func(e enqueued) output.Tone {
		if e.result.Completed() {
			return output.Good
		}
		return output.Bad
	}},
	{Header: "Attempt", Value: func(e enqueued) any {
		if e.result.State == "" {
			return nil
		}
		return e.result.Attempt
	}},
	{Header: "Result", Value: func(e enqueued) any { return e.result.Value }},
	{Header: "Error", Value: func(e enqueued) any { return absentIfEmpty(e.result.Error) }},
	{Header: "Reason", Value: func(e enqueued) any { return absentIfEmpty(e.result.Reason) }},
}

type enqueueOptions struct {
	args      string
	queue     arg.Name
	priority  arg.Int
	delay     arg.Duration
	at        arg.Time
	expiresIn arg.Duration
	attempts  arg.Int
	uniqueKey string
	headers   arg.Headers
	wait      arg.Duration
	waiting   bool
}

func newEnqueue(a *App) *cobra.Command {
	o := enqueueOptions{
		priority: arg.Between(0, 9, 5), delay: arg.Within(0, arg.Year, 0), attempts: arg.Between(1, 1000, 20),
		expiresIn: arg.Within(time.Millisecond, arg.Year, 0), wait: arg.Within(0, 24*time.Hour, 0),
	}
	cmd := &cobra.Command{
		Use:   "enqueue TASK",
		Short: "Enqueue one job, and wait for its result if told to",
		Long: "Enqueue one job. With --wait the exit code is 0 when it completed, 1 when it ended otherwise, and 75 when it had not\n" +
			"ended in time; it goes on then.",
		Example: `  stem enqueue email.welcome --args '{"user":7}'
  stem enqueue report --args @report.json --queue slow --delay 10m --max-attempts 3
  echo '{"name":"Ada"}' | stem enqueue hello --args - --wait=30s --json`,
		Args:              takes("TASK"),
		ValidArgsFunction: a.completingFirst(taskNamesOf),
		RunE: func(cmd *cobra.Command, args []string) error {
			task, err := arg.ParseName(args[0])
			if err != nil {
				return bad("TASK", err)
			}
			if err := exclusive(cmd, "delay", "at"); err != nil {
				return err
			}
			o.waiting = cmd.Flags().Changed("wait")
			return o.run(cmd, a, task)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.args, "args", "{}", "the payload: JSON, @FILE, or - for stdin")
	f.Var(&o.queue, "queue", "the queue (default: that of the settings)")
	f.Var(&o.priority, "priority", "0 to 9, higher first")
	f.Var(&o.delay, "delay", "run it so much later, by the server's clock")
	f.Var(&o.at, "at", "run it at this time: RFC 3339 with a zone")
	f.Var(&o.expiresIn, "expires-in", "drop it when it has not begun after this time")
	f.Var(&o.attempts, "max-attempts", "failures before it is a dead letter")
	f.StringVar(&o.uniqueKey, "unique-key", "", "none but this one with the key until it has finished")
	f.Var(&o.headers, "header", "a header; give it again for more")
	f.Var(&o.wait, "wait", "wait until it ended, at most so long: --wait or --wait=30s")
	f.Lookup("wait").NoOptDefVal = "0"
	return cmd
}

// producer encrypts, signs and enqueues as the settings say.
func (a *App) producer() (*queue.Queue, error) {
	q, err := queue.New(a.producerConfig(a.Config.Keys))
	switch {
	case errors.Is(err, signing.ErrNoKey):
		return nil, fault.Config("no_signing_key", "%s", plain(err)).About("STEM_SIGNING_ACTIVE_KEY").Because(err).
			WithHint("workers under the policy %q refuse what is unsigned; name the key that signs with STEM_SIGNING_ACTIVE_KEY", "required")
	case err != nil:
		return nil, fault.Config("bad_setting", "%s", plain(err)).Because(err)
	}
	return q, nil
}

// producerConfig is what the settings say of what is enqueued.
func (a *App) producerConfig(signer *signing.Ring) queue.Config {
	return queue.Config{
		Signer: signer, Encryption: a.Config.Encryption,
		DefaultQueue: a.Config.DefaultQueue, DefaultMaxAttempts: a.Config.DefaultMaxAttempts, MaxPayloadBytes: a.Config.MaxPayloadBytes,
	}
}

func (o *enqueueOptions) run(cmd *cobra.Command, a *App, task string) error {
	ctx := cmd.Context()
	payload, err := readInput(a, "--args", o.args)
	if err != nil {
		return err
	}
	q, err := a.producer()
	if err != nil {
		return err
	}
	request := queue.Raw(task, payload, "", o.options(cmd)...)
	// A rehearsal: what is wrong with the job is said before anything is dialled.
	if _, err := q.Enqueue(ctx, noDatabase{}, request); errors.Is(err, queue.ErrInvalid) {
		return invalidJob(err)
	}
	pool, err := a.Pool(ctx)
	if err != nil {
		return err
	}
	receipts, err := q.Enqueue(ctx, pool, request)
	if unknown, ok := errors.AsType[*queue.CommitUnknownError](err); ok {
		return fault.New(fault.ExitTryLater, "commit_unknown", "the connection broke: whether job %s was enqueued is unknown", unknown.IDs[0]).
			About("database").Because(err)
	}
	if err != nil {
		return err
	}
	row := enqueued{receipt: receipts[0], task: task, queue: a.Config.DefaultQueue}
	if o.queue != "" {
		row.queue = string(o.queue)
	}
	sheet := output.Sheet[enqueued]{Noun: "job", Columns: enqueuedColumns}
	if !o.waiting {
		return output.One(a.Printer, &sheet, row)
	}
	sheet.Columns = append(append([]output.Column[enqueued]{}, enqueuedColumns...), endedColumns...)
	var waitErr error
	row.result, waitErr = a.await(ctx, pool, row, o.wait.Value)
	if err := output.One(a.Printer, &sheet, row); err != nil {
		return err
	}
	return waitErr
}

func (o *enqueueOptions) options(cmd *cobra.Command) []queue.Option {
	given := cmd.Flags().Changed
	var list []queue.Option
	add := func(flag string, option queue.Option) {
		if given(flag) {
			list = append(list, option)
		}
	}
	add("queue", queue.On(string(o.queue)))
	add("priority", queue.Priority(o.priority.Value))
	add("delay", queue.After(o.delay.Value))
	add("at", queue.At(o.at.Value))
	add("expires-in", queue.ExpiresIn(o.expiresIn.Value))
	add("max-attempts", queue.MaxAttempts(o.attempts.Value))
	add("unique-key", queue.UntilFinished(o.uniqueKey))
	for name, value := range o.headers {
		list = append(list, queue.Header(name, value))
	}
	return list
}

// noDatabase refuses every statement.
type noDatabase struct{}

var errNoDatabase = errors.New("no database")

func (noDatabase) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errNoDatabase
}

func (noDatabase) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errNoDatabase }
func (noDatabase) QueryRow(context.Context, string, ...any) pgx.Row        { return noDatabase{} }
func (noDatabase) Scan(...any) error                                       { return errNoDatabase }

var errWaitOver = errors.New("the time of --wait is over")

// await waits for the end of the job, for a while unless that is 0. Its error says what other end that was than completion.
func (a *App) await(ctx context.Context, pool queue.DB, row enqueued, limit time.Duration) (queue.Result, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errWaitOver)
		defer cancel()
	}
	id := row.receipt.ID
	result, err := queue.Wait(ctx, pool, id)
	switch {
	case err == nil && result.Completed():
		a.openResult(&result)
		return result, nil
	case err == nil:
		said := []string{fmt.Sprintf("job %s ended as %s", id, result.State), result.Reason, result.Error}
		said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		return result, fault.New(fault.ExitNotFound, "job_"+result.State, "%s", strings.Join(said, ": "))
	case errors.Is(context.Cause(ctx), errWaitOver):
		return result, fault.New(fault.ExitTryLater, "wait_timeout", "job %s had not ended after %s; it goes on", id, arg.Text(limit)).
			WithHint("is a worker running that knows task %s and works on queue %s?", row.task, row.queue)
	case errors.Is(err, queue.ErrNotFound):
		return result, fault.NotFound("job %s is gone: its queue keeps nothing of finished jobs, or somebody purged it", id)
	}
	return result, err
}

// maxInput is more than any payload that can be configured, so that the message can say how large it is.
const maxInput = 64 << 20

// readInput reads what a flag says: the text itself, @FILE, or - for stdin.
func readInput(a *App, flag, s string) ([]byte, error) {
	var from io.Reader
	path, isFile := strings.CutPrefix(s, "@")
	switch {
	case s == "-":
		from, path = a.In, "stdin"
	case isFile:
		f, err := os.Open(path)
		if err != nil {
			return nil, unreadable(flag, err)
		}
		defer f.Close()
		from = f
	default:
		return []byte(s), nil
	}
	b, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return nil, unreadable(flag, err)
	}
	if len(b) > maxInput {
		return nil, fault.Data("%s: %s is larger than 64 MiB", flag, path).About("flag " + flag)
	}
	return b, nil
}

// unreadable is a file that cannot be read.
func unreadable(source string, err error) error {
	exit, code := fault.ExitNoInput, "input_missing"
	if errors.Is(err, os.ErrPermission) {
		exit, code = fault.ExitPermission, "permission_denied"
	}
	return fault.New(exit, code, "%s: %s", source, strings.TrimPrefix(err.Error(), "open ")).About("flag " + source).Because(err)
}

// invalidJob tells mistakes in the payload, which is data, from those of flags.
func invalidJob(err error) error {
	var all []error
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, e := range list {
		text := plain(e)
		if strings.HasPrefix(text, "payload") {
			all = append(all, fault.Data("%s", text).About("flag --args").Because(e))
		} else {
			all = append(all, fault.Usage("bad_job", "%s", text).About("command line").Because(e))
		}
	}
	return errors.Join(all...)
}

// plain is the text of an error of package queue behind its mark.
func plain(err error) string {
	_, text, found := strings.Cut(err.Error(), queue.ErrInvalid.Error()+": ")
	if !found {
		return err.Error()
	}
	return text
}
