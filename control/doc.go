// Package control is the operator's side of Stem: everything that the command line and the dashboard can see and do.
//
//	plane := control.New(pool)
//	for job, err := range plane.Jobs(ctx, control.Filter{Queue: "mail", States: []string{"ready"}}) { … }
//	results, err := plane.Cancel(ctx, "duplicate import", id)
//
// Lists come by keyset, newest first, and bulk actions take the filter of the list: the same filter means the same set. Each
// action writes one row of the audit log in its own transaction. Given a pgx.Tx, an action is part of that transaction; given a
// pool or a connection, it runs in a short transaction of its own, at READ COMMITTED, and is repeated when Postgres ended it for
// a deadlock.
//
// In your own transaction at REPEATABLE READ or SERIALIZABLE, what others did to the job since your snapshot fails the action
// with SQLSTATE 40001: roll back and try again. What an action answers, it answers of that snapshot.
package control
