package listen_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

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
		listen.Run(ctx, config, []string{"one", "Two words"}, slog.New(slog.DiscardHandler),
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
