package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// orderVar carries an order in the environment: its presence makes this program a worker.
const orderVar = "STEM_LEDGER_WORKER"

const (
	slots = 8
	lease = 3 * time.Second
	// maxCrashes is high because here it is not the jobs that kill workers. By default the third lost worker in a row buries a
	// job as poison; a job that happens to be in three killed workers would be missing at the end.
	maxCrashes = 20
)

// order is what the parent tells a worker process.
type order struct {
	URL     string        `json:"url"`
	Run     uuid.UUID     `json:"run"`
	Queue   string        `json:"queue"`
	Node    string        `json:"node"`
	Notes   string        `json:"notes"`
	Poll    bool          `json:"poll"`
	Verbose bool          `json:"verbose"`
	Work    time.Duration `json:"work"`
}

// work is the whole of a worker process.
func work(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	go dieWithParent()
	pool, err := open(ctx, o.URL)
	if err != nil {
		return err
	}
	defer pool.Close()
	notes, err := os.OpenFile(filepath.Join(o.Notes, o.Node), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer notes.Close()

	level := slog.LevelWarn
	if o.Verbose {
		level = slog.LevelInfo
	}
	h := &hasher{order: o, pool: pool, notes: notes}
	var reg worker.Registry
	worker.Handle(&reg, hash, h.handle)
	w, err := worker.New(pool, &reg, worker.Config{
		Queues: map[string]int{o.Queue: slots}, Node: o.Node, Lease: lease, MaxCrashes: maxCrashes, PollOnly: o.Poll,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("process", o.Node),
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func open(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = slots
	return pgxpool.NewWithConfig(ctx, config)
}

// dieWithParent ends this process when the parent's end of stdin is gone, however that came about.
func dieWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the pipe
	fmt.Fprintln(os.Stderr, "ledger: worker: the parent is gone")
	os.Exit(3)
}

// hasher handles the jobs of a worker process.
type hasher struct {
	order
	pool  *pgxpool.Pool
	notes *os.File
}

// note is a line of the notes: a handler began. It is written whatever becomes of the attempt, so that a handler that ran for
// a job which was rolled back is found out although it could not write any row.
type note struct {
	Job  uuid.UUID `json:"job"`
	Path string    `json:"path"`
}

func (h *hasher) handle(ctx context.Context, job *queue.Job[hashArgs]) error {
	atLeast := time.NewTimer(h.Work)
	defer atLeast.Stop()
	line, err := json.Marshal(note{Job: job.ID, Path: job.Args.Path})
	if err != nil {
		return err
	}
	if _, err := h.notes.Write(append(line, '\n')); err != nil {
		return err
	}
	digest, err := digestOf(job.Args.Path)
	if err != nil {
		return err
	}
	select {
	case <-atLeast.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return h.enter(ctx, job, digest)
}

// enter writes the digest in the transaction that completes the job: both happen once, or neither does.
func (h *hasher) enter(ctx context.Context, job *queue.Job[hashArgs], digest []byte) error {
	tx, err := h.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	if _, err := tx.Exec(ctx, "update ledger.files set digest = $3 where run = $1 and path = $2", h.Run, job.Args.Path, digest); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "insert into ledger.effects (run, path, job, digest) values ($1, $2, $3, $4)",
		h.Run, job.Args.Path, job.ID, digest); err != nil {
		return err
	}
	if err := worker.Complete(ctx, tx, job); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func digestOf(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}
