package worker_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// dialled notes with which settings connections were asked for.
type dialled struct {
	mu   sync.Mutex
	list []map[string]string
}

func (d *dialled) hook(_ context.Context, c *pgx.ConnConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, maps.Clone(c.RuntimeParams)) // whoever connects goes on changing them
	return nil
}

func (d *dialled) any(test func(params map[string]string) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.list, test)
}

// A login that comes from BeforeConnect, as a token or a rotated certificate does, is needed for LISTEN too.
func TestEveryConnectionGoesThroughBeforeConnect(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var d dialled
	config := b.pool.Config().Copy()
	config.BeforeConnect = d.hook
	config.ConnConfig.RuntimeParams["lock_timeout"] = "7s"
	var err error
	if b.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	listen := config.ConnConfig.Copy()
	listen.RuntimeParams["application_name"] = "ears"
	var reg worker.Registry
	reg.HandleFunc("t", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{Node: "w1", ListenConfig: listen})
	eventually(t, "the listener has connected", func() bool {
		return d.any(func(params map[string]string) bool { return params["application_name"] == "ears" })
	})
	own := func(params map[string]string) bool { return params["application_name"] == "stem/worker/w1" }
	if !d.any(func(params map[string]string) bool {
		return own(params) && params["statement_timeout"] == "30s" && params["lock_timeout"] == "7s" && params["timezone"] == "UTC"
	}) {
		t.Errorf("the worker's own connections have no limits: %v", d.list)
	}
	if d.any(func(params map[string]string) bool { return !own(params) && params["statement_timeout"] != "" }) {
		t.Errorf("connections of the caller have limits: %v", d.list)
	}
}

// A pooler refuses settings of a session; the worker's own connections do without.
func TestAWorkerRunsThroughAPooler(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	config, err := pgxpool.ParseConfig(pgtest.PgBouncer(t, b.pool.Config().ConnString()))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	var d dialled
	config.BeforeConnect = d.hook
	if b.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	var reg worker.Registry
	reg.HandleFunc("t", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{Node: "w1", PollOnly: true})
	if got := b.wait(b.enqueue(raw("t"))[0]); got.State != "completed" {
		t.Errorf("got %s", got.State)
	}
	own := func(params map[string]string) bool {
		return strings.HasPrefix(params["application_name"], "stem/worker/")
	}
	if !d.any(func(params map[string]string) bool { return own(params) && params["statement_timeout"] == "" }) {
		t.Errorf("no connection without limits: %v", d.list)
	}
}
