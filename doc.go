// Package stem is the glossary of a transactional job queue for Go and Postgres. It holds no code: the work is done by
// its sub-packages.
//
//	queue      enqueue jobs, inside your own transaction
//	worker     claim and run them
//	control    what operators do: list, cancel, pause, replay
//	db         the schema, and the migrations that make it
//
// The words, used alike in SQL, Go, the command line and the documents:
//
//	task         a named kind of work with a typed argument: email.welcome
//	job          one enqueued row of a task; its id is a UUIDv7 made by the producer
//	attempt      one run of a job; counted when it is claimed, never decremented
//	claim        the right to run a job now; identified by a random claim id, the fencing token
//	lease        how long a worker may be silent before its claims are taken back
//	queue        a named line of jobs with its own pause switch
//	worker       a process that claims and runs jobs; node is its configured name
//	handler      the code that runs a job
//	dead letter  a job that was given up, kept with its reason and history until someone decides
//
// A job runs at least once. The rows that a handler writes in the transaction in which it completes the job
// (worker.Complete) are written exactly once.
package stem
