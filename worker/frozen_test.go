package worker_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
)

// link is a TCP proxy before the database. Once it is frozen it takes everything and delivers nothing, as a network does
// that drops packets: nobody gets an error.
type link struct {
	frozen, cut chan struct{}
	cold        atomic.Bool   // it freezes at the next claim
	deaf        atomic.Bool   // what the server says gets lost
	registering func()        // called before a worker registers
	pool        *pgxpool.Pool // whose connections go this way
	listener    net.Listener
	to          func() (net.Conn, error)
	copies      sync.WaitGroup
}

// newLink returns a link to the bench's database.
func newLink(t *testing.T, b *bench, options ...func(*pgxpool.Config)) *link {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{frozen: make(chan struct{}), cut: make(chan struct{}), listener: listener}
	server := b.pool.Config().ConnConfig
	network, address := pgconn.NetworkAddress(server.Host, server.Port)
	l.to = func() (net.Conn, error) {
		return (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), network, address)
	}
	l.pool = pgtest.Open(t, server.ConnString(), func(c *pgxpool.Config) {
		for _, option := range options {
			option(c)
		}
		c.ConnConfig.Tracer = l
		c.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
		}
	})
	l.copies.Go(l.serve)
	t.Cleanup(func() {
		close(l.cut)
		_ = listener.Close()
		l.copies.Wait()
	})
	return l
}

// freeze lets the dispatch loop claim once more, and freezes the link before a byte of that can get through.
func (l *link) freeze() {
	l.cold.Store(true)
	<-l.frozen
}

func (l *link) isFrozen() bool {
	select {
	case <-l.frozen:
		return true
	default:
		return false
	}
}

func (l *link) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.copies.Go(func() {
			<-l.cut
			_ = client.Close()
		})
		if l.isFrozen() {
			continue
		}
		server, err := l.to()
		if err != nil {
			_ = client.Close()
			continue
		}
		l.copies.Go(func() { l.carry(server, client, false) })
		l.copies.Go(func() { l.carry(client, server, true) })
	}
}

func (l *link) carry(to io.WriteCloser, from io.Reader, answers bool) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if l.isFrozen() {
			<-l.cut
			return
		}
		if answers && l.deaf.Load() {
			continue
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TraceQueryStart is called before a statement is sent.
func (l *link) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "stem.register(") && l.registering != nil {
		l.registering()
	}
	if strings.Contains(data.SQL, "stem.claim(") && l.cold.CompareAndSwap(true, false) {
		close(l.frozen)
	}
	return ctx
}

func (*link) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// journal keeps what is logged.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(b)
}

// count counts the lines that hold all the words.
func (j *journal) count(words ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
lines:
	for line := range strings.Lines(j.all.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}
