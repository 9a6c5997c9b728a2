package control_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// A scene is a job, or a queue when job is nil, that two transactions want at the same time.
type scene struct {
	*lab
	w     hand
	claim uuid.UUID
	job   uuid.UUID
}

// state is every place of the job, or what is set of queue mail.
func (s *scene) state(t *testing.T) string {
	t.Helper()
	if s.job == uuid.Nil {
		return strings.Join(column[string](t, s.owner, `select case when paused then 'paused by ' || paused_why || ' ' else '' end
			|| case when keep_finished then 'keeps' else 'drops' end from stem.queues where name = 'mail'`), ",")
	}
	return strings.Join(labtest.Places(t, s.owner, s.job), ",")
}

func waiting(arguments string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) { t.Helper(); s.job = s.enqueue(t, 1, arguments)[0] }
}

func running(t *testing.T, s *scene) {
	t.Helper()
	waiting("")(t, s)
	_, s.claim = claim(t, s.worker, s.w, "default", 1)
}

// retrying leaves a job that waits for its second attempt and is due.
func retrying(t *testing.T, s *scene) {
	t.Helper()
	running(t, s)
	putBack(t, s.worker, s.w, s.claim, "fail", time.Microsecond, "", "boom", s.job)
}

func dead(arguments string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) { t.Helper(); s.job = s.kill(t, 1, "broken", arguments)[0] }
}

// queueMail makes queue mail.
func queueMail(t *testing.T, s *scene) {
	t.Helper()
	run(t, s.owner, "insert into stem.queues (name) values ('mail')")
}

// statement is a change that is one statement, of the owner or of somebody who may execute the functions.
func statement(query string) func(*testing.T, control.DB, *scene) {
	return func(t *testing.T, db control.DB, s *scene) {
		t.Helper()
		if strings.Contains(query, "$1") {
			run(t, db, query, s.job)
		} else {
			run(t, db, query)
		}
	}
}

func claimed(t *testing.T, db control.DB, s *scene) {
	t.Helper()
	if jobs, _ := claim(t, db, s.w, "default", 1); len(jobs) != 1 {
		t.Fatalf("claimed %d", len(jobs))
	}
}

func completed(t *testing.T, db control.DB, s *scene) {
	t.Helper()
	must(t, store.New(db).Complete(t.Context(), store.CompleteParams{Job: s.job, Claim: s.claim, Worker: s.w.id, AgeUs: -1}))
}

func failed(t *testing.T, db control.DB, s *scene) {
	t.Helper()
	putBack(t, db, s.w, s.claim, "fail", time.Hour, "", "boom", s.job)
}

// outcome is what an action on one job says.
func outcome(list []control.Result, err error) (string, error) {
	if err != nil || len(list) != 1 {
		return "", err
	}
	return list[0].Outcome, nil
}

func changed(yes bool, err error) (string, error) {
	if err != nil || !yes {
		return "unchanged", err
	}
	return "changed", nil
}

// answer is the outcome of an action, or the SQLSTATE of its error.
func answer(outcome string, err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return outcome
}

func (s *scene) strict(t *testing.T, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	tx := begin(t, s.connect(t), level)
	run(t, tx, "select stem.count_waiting('nobody')") // the snapshot
	return tx
}

func pausedMail(t *testing.T, s *scene) {
	t.Helper()
	queueMail(t, s)
	run(t, s.pool, "select stem.pause_queue('mail', 'before')")
}
