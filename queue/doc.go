// Package queue enqueues jobs: inside your own transaction, on whatever handle you have.
//
// A task is a typed value that the producer, the handler, the scheduler and the test share:
//
//	var Welcome = queue.NewTask[WelcomeArgs]("email.welcome", queue.On("mail"), queue.MaxAttempts(5))
//
//	q, err := queue.New(queue.Config{})
//	receipts, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 7}, queue.After(time.Hour)))
//
// The handle is an argument: a pgx.Tx makes the job part of that transaction, a *pgxpool.Pool or *pgx.Conn enqueues on its
// own, and SQL wraps a *sql.Tx, *sql.DB or *sql.Conn that was opened with pgx's database/sql driver. Everything that can be
// checked is checked before any SQL is sent, because an error from the server would spoil the caller's transaction.
//
// A job's envelope (Envelope) is immutable: inserted once, signed if Config.Signer has a key, never updated.
package queue
