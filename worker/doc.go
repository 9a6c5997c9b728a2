// Package worker claims jobs and runs them.
//
//	var reg worker.Registry
//	worker.Handle(&reg, Welcome, mailer.SendWelcome) // func(context.Context, *queue.Job[WelcomeArgs]) error
//	w, err := worker.New(pool, &reg, worker.Config{Queues: map[string]int{"mail": 10}})
//	err = w.Run(ctx) // blocks; nil after a clean drain
//
// A job runs at least once. It may run again when its worker dies or loses its lease, so a handler is idempotent, or writes
// its rows in the transaction that completes the job (Complete): those are written exactly once.
//
// What a handler returns decides: nil completes the job; an error is a charged failure, tried again after a growing pause
// until the job's attempts are used up; Discard, Snooze and RetryAfter say otherwise.
package worker
