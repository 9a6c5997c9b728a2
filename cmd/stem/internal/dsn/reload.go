package dsn

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

// Events are what the connections of a DSN have to say. Each may be nil; they are called from any goroutine.
type Events struct {
	Unverified func(host string, err error) // insecure mode: what verify-full would have refused the server for
	Reloaded   func()                       // the files of TLS changed and were read
	Unreadable func(err error)              // they changed, and the new ones are no good: the old ones stay in force
}

// Config returns the settings of one connection. The rules of TLS must have been applied by [DSN.Secure].
func (d DSN) Config(e Events) *pgx.ConnConfig {
	c := d.conn.Copy()
	d.harden(c, e.Unverified)
	return c
}

// Pool returns the settings of a pool. Its BeforeConnect reads the files of TLS again when they have changed.
func (d DSN) Pool(e Events) (*pgxpool.Config, error) {
	sizes, err := d.whole(map[string]string{"sslmode": "disable", "sslrootcert": "", "sslcert": "", "sslkey": ""})
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.ParseConfig(sizes) // its size and so on, and no more
	if err != nil {
		return nil, d.harmless(err)
	}
	pool.ConnConfig = d.Config(e)
	pool.BeforeConnect = d.Refresh(e)
	return pool, nil
}

// Refresh returns a hook that gives a configuration made by d the certificates that its files hold now. Configurations
// that others made pass unchanged.
func (d DSN) Refresh(e Events) func(context.Context, *pgx.ConnConfig) error {
	if d.sec.material == nil {
		return nil
	}
	r := &refresher{d: d, events: e}
	return func(_ context.Context, c *pgx.ConnConfig) error {
		if c.ConnString() == d.conn.ConnString() {
			r.current().harden(c, e.Unverified)
		}
		return nil
	}
}

// refresher remembers what was last read of the files.
type refresher struct {
	events Events

	mu  sync.Mutex // guards what follows
	d   DSN
	bad []os.FileInfo // what was last complained about
}

// current is the DSN with the files as they are. Old certificates stay in force while the new ones are no good, as during
// a rotation that has written one file and not yet the other.
func (r *refresher) current() DSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.d.sec.files.stat()
	if same(now, r.d.sec.material.stamps) || r.bad != nil && same(now, r.bad) {
		return r.d
	}
	m, err := r.d.sec.files.load()
	if err != nil {
		r.bad = now
		if r.events.Unreadable != nil {
			r.events.Unreadable(err)
		}
		return r.d
	}
	r.d.sec.material, r.bad = m, nil
	if r.events.Reloaded != nil {
		r.events.Reloaded()
	}
	return r.d
}

// same compares by time, size and identity: a file that replaced another may be as old.
func same(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		if x == nil || y == nil {
			return x == nil && y == nil
		}
		return x.ModTime().Equal(y.ModTime()) && x.Size() == y.Size() && os.SameFile(x, y)
	})
}

// advice is what messages about a failed connection need to know.
func (s security) advice() *fault.TLS {
	if s.mode == "" || s.mode == "disable" {
		return &fault.TLS{Mode: s.mode}
	}
	a := &fault.TLS{Mode: s.mode, CA: s.files.ca.Path, CASource: s.files.ca.Source, Negotiation: s.set["sslnegotiation"]}
	if s.material == nil {
		return a
	}
	for _, c := range s.material.authorities {
		a.Authorities = append(a.Authorities, cmp.Or(c.Subject.CommonName, c.Subject.String(), "an authority without a name"))
	}
	if s.material.pair != nil {
		leaf := s.material.pair.Leaf
		a.ClientSource, a.ClientName, a.ClientExpires = s.files.cert.Source, leaf.Subject.CommonName, leaf.NotAfter
	}
	return a
}
