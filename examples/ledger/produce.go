package main

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
)

// hashArgs is the payload of a job.
type hashArgs struct {
	Path string `json:"path"`
}

// hash is the one task. A killed worker charges an attempt to each of the jobs that ran in it, and jobs here see many killed
// workers: 50 attempts are enough for a run of minutes.
var hash = queue.NewTask[hashArgs]("ledger.hash", queue.MaxAttempts(50))

const producers = 4

// produced is what the producers did.
type produced struct {
	mu         sync.Mutex
	jobs       map[string]uuid.UUID // of committed files
	rolledBack map[string]bool      // files whose jobs must never run
}

// walk lists the regular files below dir, as absolute paths.
func walk(dir string) (files []string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// produce enters each file and enqueues its job, in one transaction; it rolls back every tenth.
func (l *ledger) produce(ctx context.Context, made *produced, files []string) error {
	pool, err := pgxpool.New(ctx, l.clients)
	if err != nil {
		return err
	}
	defer pool.Close()
	q, err := queue.New(queue.Config{DefaultQueue: l.queue})
	if err != nil {
		return err
	}
	var extra []queue.Option
	if !l.notify {
		extra = append(extra, queue.NoNotify())
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var group sync.WaitGroup
	for p := range producers {
		group.Go(func() {
			for i := p; i < len(files) && ctx.Err() == nil; i += producers {
				rollBack := i%10 == 9
				job, err := l.enter(ctx, pool, q, files[i], rollBack, extra)
				if err != nil {
					fail(err)
					return
				}
				made.note(files[i], job, rollBack)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// enter is what this product is for: the row and its job exist together, or neither does.
func (l *ledger) enter(
	ctx context.Context, pool *pgxpool.Pool, q *queue.Queue, path string, rollBack bool, extra []queue.Option,
) (job uuid.UUID, err error) {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return job, err
	}
	defer rollback(ctx, tx)
	receipts, err := q.Enqueue(ctx, tx, hash.New(hashArgs{Path: path}, extra...))
	if err != nil {
		return job, err
	}
	job = receipts[0].ID
	if _, err := tx.Exec(ctx, "insert into ledger.files (run, path, job) values ($1, $2, $3)", l.id, path, job); err != nil {
		return job, err
	}
	if rollBack {
		return job, tx.Rollback(ctx)
	}
	return job, tx.Commit(ctx)
}

func (p *produced) note(path string, job uuid.UUID, rolledBack bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rolledBack {
		p.rolledBack[path] = true
	} else {
		p.jobs[path] = job
	}
}

// rollback ends a transaction that was not committed, even when ctx is done.
func rollback(ctx context.Context, tx pgx.Tx) {
	_ = tx.Rollback(context.WithoutCancel(ctx)) // after a commit this is an error by design
}
