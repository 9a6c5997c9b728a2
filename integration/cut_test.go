package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// cutter loses the server's answer to claims: the statement is sent, it takes effect, and the connection dies.
type cutter struct {
	armed atomic.Int64 // how many claims are still to be cut off
	cuts  atomic.Int64
	away  atomic.Bool // after a cut, nobody can connect either
	gone  atomic.Bool
	hold  atomic.Pointer[hold]
}

// hold stops the first claim that is to be cut off before anything of it is sent.
type hold struct {
	once         sync.Once
	begun, ready chan struct{}
}

// cut cuts off the next n claims for jobs. The first of them sees what do commits.
func (c *cutter) cut(n int64, do func()) {
	h := &hold{begun: make(chan struct{}), ready: make(chan struct{})}
	c.hold.Store(h)
	c.armed.Store(n)
	<-h.begun
	defer close(h.ready)
	do()
}

var errAway = errors.New("the server is away")

// pool opens a pool whose claims can be cut off.
func (c *cutter) pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	return pgtest.Open(t, url, func(config *pgxpool.Config) {
		config.ConnConfig.Tracer = c
		config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.gone.Load() {
				return nil, errAway
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &wire{Conn: conn, cutter: c}, err
		}
	})
}

// wire is one connection under TLS.
type wire struct {
	net.Conn
	cutter *cutter
	claims atomic.Int64
	deaf   atomic.Bool
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.deaf.Load() || w.cutter.gone.Load() {
		_ = w.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *cutter) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	suspects := func(arg any) bool { lanes, ok := arg.([]int16); return ok && len(lanes) > 0 && lanes[0] >= 100 }
	if !strings.Contains(data.SQL, "stem.claim(") || slices.ContainsFunc(data.Args, suspects) {
		return ctx
	}
	under := conn.PgConn().Conn()
	if secure, ok := under.(*tls.Conn); ok {
		under = secure.NetConn()
	}
	// The first claim of a connection is preceded by its preparation: that answer would be the one that is lost.
	if w, ok := under.(*wire); ok && w.claims.Add(1) > 1 && c.armed.Add(-1) >= 0 {
		h := c.hold.Load()
		h.once.Do(func() { close(h.begun); <-h.ready })
		c.cuts.Add(1)
		c.gone.Store(c.away.Load())
		w.deaf.Store(true)
	}
	return ctx
}

func (*cutter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestAClaimWhoseAnswerIsLostLosesNoJob(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := &cutter{}
	pool := c.pool(t, f.url)
	var ran atomic.Int64
	var reg worker.Registry
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { ran.Add(1); return nil })
	log, _ := run(t, pool, &reg, worker.Config{
		// What puts a claim back has a heartbeat's time for each try, and must have succeeded before the lease is over.
		Queues: map[string]int{"default": 5}, Lease: time.Minute, Heartbeat: 100 * time.Millisecond, PollInterval: 50 * time.Millisecond,
	})
	f.wait(f.enqueue(raw("quick"))[0])
	for round := range 3 {
		var requests []queue.Request
		for range 50 {
			requests = append(requests, raw("quick"))
		}
		var receipts []queue.Receipt
		c.cut(3, func() { receipts = f.enqueue(requests...) })
		for _, r := range receipts {
			if got := f.wait(r); got.State != "completed" {
				t.Errorf("round %d: got %s", round, got.State)
			}
		}
	}
	if got := ran.Load(); got != 151 {
		t.Errorf("%d runs of 151 jobs", got)
	}
	if n := f.number("select count(*) from stem.running"); n != 0 {
		t.Errorf("%d claims are left", n)
	}
	if n := f.number("select count(*) from stem.attempts"); n != 0 {
		t.Errorf("%d attempts were recorded besides the completions", n)
	}
	if n := log.count("a claim whose answer was lost was put back"); n < 3 {
		t.Errorf("%d answers were cut off and %d claims put back, want one a round at least", c.cuts.Load(), n)
	}
	if log.has("lease lost") {
		t.Error("the session was given up")
	}
	t.Logf("%d answers cut off", c.cuts.Load())
}

func TestAWorkerStopsInTheMiddleOfAnAmbiguousClaim(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := &cutter{}
	var reg worker.Registry
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	log, stop := run(t, c.pool(t, f.url), &reg, worker.Config{
		Queues: map[string]int{"default": 5}, Lease: 4 * time.Second, ShutdownGrace: time.Second, PollInterval: 50 * time.Millisecond,
	})
	f.wait(f.enqueue(raw("quick"))[0])
	c.away.Store(true)
	var r queue.Receipt
	c.cut(1, func() { r = f.enqueue(raw("quick"))[0] })
	f.eventually("a claim failed", func() bool { return log.has("claim failed") })
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case err := <-ended: // a session whose database is away may say that it could not store everything
		t.Log("Run:", err)
		t.Logf("Run returned after %v", time.Since(began).Round(time.Millisecond))
	case <-time.After(13 * time.Second):
		t.Error("Run did not return within the grace of 1 s + 2 s (and 10 more)")
		c.gone.Store(false)
	}
	// What the claim took is somebody else's now.
	run(t, f.workers, &reg, worker.Config{Lease: 4 * time.Second})
	if got := f.wait(r); got.State != "completed" {
		t.Errorf("got %s", got.State)
	}
}
