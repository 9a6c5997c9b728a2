package queue

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// scissors sit between pgx and TLS, where the messages can be read. Armed, they cut a connection at a statement: after it
// was sent and the server has answered, without a word of the answer; or, with unsent, before a byte of it has left.
type scissors struct {
	armed  atomic.Int64
	unsent atomic.Bool
	cuts   atomic.Int64
}

func (s *scissors) fit(config *pgx.ConnConfig) {
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		b := &blade{scissors: s, r: r, w: w}
		return pgproto3.NewFrontend(b, b)
	}
}

type blade struct {
	*scissors
	r    io.Reader
	w    io.Writer
	deaf atomic.Bool
}

func (b *blade) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.deaf.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *blade) Write(p []byte) (int, error) {
	if executes(p) && b.armed.Add(-1) >= 0 {
		b.cuts.Add(1)
		if b.unsent.Load() {
			return 0, io.ErrClosedPipe
		}
		b.deaf.Store(true)
	}
	return b.w.Write(p)
}

// executes tells whether these messages make the server run something, and do not only prepare it.
func executes(p []byte) bool {
	for len(p) >= 5 && p[0] != 0 { // the first message of a connection has no type
		if p[0] == 'B' || p[0] == 'Q' && !bytes.Contains(p, []byte("-- ping")) {
			return true
		}
		size := 1 + int(uint32(p[1])<<24|uint32(p[2])<<16|uint32(p[3])<<8|uint32(p[4]))
		if size > len(p) {
			return false
		}
		p = p[size:]
	}
	return false
}

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

func TestAnAnswerThatIsLostIsNeverTakenForARefusal(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			var s scissors
			owner, pool := open(t, func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
				s.fit(c.ConnConfig)
			})
			l := &lostAnswers{T: t, scissors: &s, owner: owner, pool: pool, q: newQueue(t, Config{})}
			l.pools()
			l.connections()
			l.standard()
			l.commits()
		})
	}
}

type lostAnswers struct {
	*testing.T
	*scissors
	owner, pool *pgxpool.Pool
	q           *Queue
}

func (l *lostAnswers) enqueue(db DB) ([]Receipt, error) { return l.q.Enqueue(l.Context(), db, job) }

// cut arms the scissors for n statements, runs do, and checks that they cut and how many jobs there are more.
func (l *lostAnswers) cut(what string, n int64, unsent bool, more int, do func() error) error {
	l.Helper()
	before := count(l.T, l.owner)
	l.cuts.Store(0)
	l.unsent.Store(unsent)
	l.armed.Store(n)
	err := do()
	l.armed.Store(0)
	if got := l.cuts.Load(); got != n {
		l.Errorf("%s: %d statements were cut off, want %d", what, got, n)
	}
	l.stored(what, before+more)
	return err
}

// stored waits for what a server without a client still does.
func (l *lostAnswers) stored(what string, want int) {
	l.Helper()
	got := -1
	for deadline := time.Now().Add(time.Minute); got != want && time.Now().Before(deadline); {
		got = count(l.T, l.owner)
	}
	if got != want {
		l.Errorf("%s: %d jobs are stored, want %d", what, got, want)
	}
}

func (l *lostAnswers) pools() {
	enqueue := func() error { _, err := l.enqueue(l.pool); return err }
	if err := l.cut("pool, one answer lost", 1, false, 1, enqueue); err != nil {
		l.Errorf("pool: got %v, want that a second try resolves it", err)
	}
	if err := l.cut("pool, both answers lost", 2, false, 1, enqueue); !errors.Is(err, ErrCommitUnknown) {
		l.Errorf("pool, both answers lost: got %v, want ErrCommitUnknown", err)
	}
	if err := l.cut("pool, nothing sent", 1, true, 0, enqueue); err == nil || errors.Is(err, ErrCommitUnknown) {
		l.Errorf("pool, nothing sent: got %v, want an error that is not ErrCommitUnknown", err)
	}
}

func (l *lostAnswers) connections() {
	for _, unsent := range []bool{false, true} {
		conn, err := l.pool.Acquire(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		more := map[bool]int{false: 1, true: 0}[unsent]
		err = l.cut("connection", 1, unsent, more, func() error { _, err := l.enqueue(conn.Conn()); return err })
		if errors.Is(err, ErrCommitUnknown) == unsent || err == nil {
			l.Errorf("connection: got %v, with nothing sent: %v", err, unsent)
		}
		// The connection is closed now: nothing more can be sent, and nothing is in doubt.
		if _, err := l.enqueue(conn.Conn()); err == nil || errors.Is(err, ErrCommitUnknown) {
			l.Errorf("closed connection: got %v", err)
		}
		conn.Release()
	}
}

func (l *lostAnswers) standard() {
	config := l.pool.Config().ConnConfig.Copy()
	l.fit(config)
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	enqueue := func() error { _, err := l.enqueue(SQL(db)); return err }
	if err := l.cut("database/sql", 1, false, 1, enqueue); err != nil {
		l.Errorf("database/sql: got %v, want that a second try resolves it", err)
	}
	if err := l.cut("database/sql, both answers lost", 2, false, 1, enqueue); !errors.Is(err, ErrCommitUnknown) {
		l.Errorf("database/sql, both answers lost: got %v, want ErrCommitUnknown", err)
	}
	conn, err := db.Conn(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	_ = conn.Close()
	if _, err := l.enqueue(SQL(conn)); !errors.Is(err, sql.ErrConnDone) || errors.Is(err, ErrCommitUnknown) {
		l.Errorf("closed connection of database/sql: got %v", err)
	}
	var tx *sql.Tx
	if tx, err = db.BeginTx(l.Context(), nil); err != nil {
		l.Fatal(err)
	}
	if err := l.cut("database/sql transaction", 1, false, 0, func() error { _, err := l.enqueue(SQL(tx)); return err }); err == nil ||
		errors.Is(err, ErrCommitUnknown) {
		l.Errorf("database/sql transaction: got %v: nothing was committed", err)
	}
	_ = tx.Rollback()
	_ = db.Close()
	if _, err := l.enqueue(SQL(db)); err == nil || errors.Is(err, ErrCommitUnknown) {
		l.Errorf("closed database/sql: got %v", err)
	}
}

func (l *lostAnswers) commits() {
	for _, unsent := range []bool{false, true} {
		tx, err := l.pool.Begin(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		receipts, err := l.enqueue(tx)
		if err != nil {
			l.Fatal(err)
		}
		more := map[bool]int{false: 1, true: 0}[unsent]
		err = l.cut("commit", 1, unsent, more, func() error { return Commit(l.Context(), tx, receipts...) })
		if errors.Is(err, ErrCommitUnknown) == unsent || err == nil {
			l.Errorf("commit: got %v, with nothing sent: %v", err, unsent)
		}
	}
	tx, err := l.pool.Begin(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	receipts, err := l.enqueue(tx)
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	if err := Commit(ctx, tx, receipts...); err == nil || errors.Is(err, ErrCommitUnknown) {
		l.Errorf("commit with a context that is done: got %v", err)
	}
}
