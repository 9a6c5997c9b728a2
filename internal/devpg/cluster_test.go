package devpg

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func asNotFound(err error) (*NotFoundError, bool) { return errors.AsType[*NotFoundError](err) }

func TestClusterAnswersOnlyOverVerifiedTLS(t *testing.T) {
	t.Parallel()
	server := startHere(t, Config{})
	stranger, err := NewCertificates(openDir(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(key, value string) string {
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		query.Set(key, value)
		u.RawQuery = query.Encode()
		return u.String()
	}
	wrongPassword, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	wrongPassword.User = url.UserPassword("postgres", "guess")

	for _, test := range []struct{ name, url, want string }{
		{"as given", server.URL, ""},
		{"channel binding", with("channel_binding", "require"), ""},
		{"by name", strings.Replace(server.URL, "127.0.0.1", "localhost", 1), ""},
		{"another authority", with("sslrootcert", stranger.Authority), "certificate signed by unknown authority"},
		{"no TLS", with("sslmode", "disable"), "no encryption"},
		{"wrong password", wrongPassword.String(), "password authentication failed"},
	} {
		conn, err := pgx.Connect(t.Context(), test.url)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
		if err == nil {
			_ = conn.Close(t.Context())
		}
	}
}

func TestURLForKeepsThePasswordAndTheTLS(t *testing.T) {
	t.Parallel()
	address, err := url.Parse("postgres://postgres:secret@127.0.0.1:5/postgres?sslmode=verify-full")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: address.String(), address: address}
	for _, test := range []struct{ database, user, want string }{
		{"", "", s.URL},
		{"a/b", "", "postgres://postgres:secret@127.0.0.1:5/a/b?sslmode=verify-full"},
		{"app", "worker", "postgres://worker:secret@127.0.0.1:5/app?sslmode=verify-full"},
	} {
		if got := s.URLFor(test.database, test.user); got != test.want {
			t.Errorf("URLFor(%q, %q): got %s, want %s", test.database, test.user, got, test.want)
		}
	}
}

func TestStopRemovesTheDirectoryAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	server := startHere(t, Config{})
	done := server.Done()
	for range 2 {
		if err := server.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if _, err := os.Stat(server.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if pid := server.PID(); pid != 0 {
		t.Errorf("got PID %d, want 0", pid)
	}
}

func TestCommittedRowsSurviveCrashes(t *testing.T) {
	t.Parallel()
	server := startHere(t, Config{Durable: true})
	exec := func(sql string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("create table kept (n int)")
	before := server.PID()
	for _, crash := range []func(context.Context) error{server.StopImmediate, server.Kill} {
		exec("insert into kept values (1)")
		if err := crash(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if server.PID() == before {
		t.Error("Restart kept the process")
	}
	exec("do $$ begin assert (select count(*) = 2 from kept); end $$")
}

func TestAFailedStartSaysWhatTheServerSaidAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	_, err := Start(t.Context(), Config{Dir: dir, Settings: map[string]string{"max_connections": "it's many"}})
	if missing, ok := asNotFound(err); ok {
		t.Skip(missing)
	}
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections": "it's many"`) {
		t.Errorf("got error %v, want the server's words", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestATakenPortIsRecognised(t *testing.T) {
	t.Parallel()
	first, second := startHere(t, Config{}), startHere(t, Config{})
	if err := second.StopImmediate(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Port = first.Port
	if err := second.launch(t.Context()); !errors.Is(err, errPortTaken) {
		t.Errorf("got error %v, want %v", err, errPortTaken)
	}
}
