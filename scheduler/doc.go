// Package scheduler enqueues a job at each instant of a standing order.
//
// A schedule is a row: an [Entry] says what is enqueued and when (package spec has the kinds and their rules), a [Table] applies, lists
// and changes the rows, a [Scheduler] fires them.
//
//	table := scheduler.NewTable(pool, q, scheduler.TableConfig{Keys: ring})
//	plan, err := table.Plan(ctx, false, scheduler.Entry{
//	    ID: "nightly-report", Spec: "0 2 * * *", Zone: "Europe/Berlin", Job: Report.New(ReportArgs{Kind: "daily"}),
//	})
//	err = table.Apply(ctx, plan, "deploy 42")
//
//	s, err := scheduler.New(pool, q, scheduler.Config{Keys: ring})
//	err = s.Run(ctx) // blocks; run as many as you like, none is the leader
//
// # What is promised
//
// Each nominal instant has at most one job, whoever dies, however many schedulers run: the row is locked with SKIP LOCKED, and the job, the
// row of the ledger and the next instant are written in one transaction, under a unique key on (schedule, nominal instant). No job is
// enqueued before its instant by the server's clock. Each instant at which a schedule was in force leaves one row in the ledger: see
// [Outcome].
//
// A change is in force for the instants after it has committed. What was due before and had not been decided yet goes by the new order.
//
// # What is missed
//
// An instant is missed when nobody fired it within [Config].Tolerance: no scheduler ran, or the database was away. [Policies] say what
// becomes of it. What a schedule's job does is the job's business: retries, time limits and dead letters are as for every job.
package scheduler
