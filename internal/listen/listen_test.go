package listen_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/listen"
	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestAKilledListenerComesBack(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	config := pool.Config().ConnConfig.Copy()
	config.RuntimeParams["application_name"] = "the_listener"
	up, heard := make(chan struct{}, 10), make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		listen.Run(ctx, config, nil, []string{"one", "Two words"}, slog.New(slog.DiscardHandler),
			func() { up <- struct{}{} }, func(channel, payload string) { heard <- channel + "=" + payload })
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("never heard %s", want)
		}
	}
	execute := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	<-up
	execute("notify one, 'a'")
	expect("one=a")
	execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'the_listener'")
	<-up
	execute(`notify "Two words", 'b'`)
	expect("Two words=b")
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("Run does not end")
	}
}

// A listener is idle for hours; the server must not end it for that, and a pooler may refuse to be told so.
func TestAnIdleListenerIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, through := range []func(string) string{
		func(url string) string { return url },
		func(url string) string { return pgtest.PgBouncer(t, url) },
	} {
		url := pgtest.Login(t, pgtest.Database(t))
		config, err := pgx.ParseConfig(through(url))
		if err != nil {
			t.Fatal(err)
		}
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		admin := pgtest.Open(t, pgtest.Database(t))
		if _, err := admin.Exec(t.Context(), "alter role "+pgx.Identifier{config.User}.Sanitize()+" set idle_session_timeout = '100ms'"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		up, ended := make(chan struct{}, 10), make(chan struct{})
		go func() {
			defer close(ended)
			listen.Run(ctx, config, nil, []string{"one"}, slog.New(slog.DiscardHandler), func() { up <- struct{}{} }, func(string, string) {})
		}()
		<-up
		if config.Port == uint16(pgtest.Server(t).Port) { // the pooler is what is idle there, and its business
			select {
			case <-up:
				t.Error("the server ended an idle listener")
			case <-time.After(500 * time.Millisecond):
			}
		}
		cancel()
		<-ended
	}
}
