package dsn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/internal/pgtest"
)

// Certificates rotate while the pool lives: first the server's and its authority, then the client's.
func TestChangedFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.present(s.good, withBoth)
	dir := t.TempDir()
	mine := pgtest.Pair{Cert: filepath.Join(dir, "client.pem"), Key: filepath.Join(dir, "client-key.pem")}
	trusted := filepath.Join(dir, "ca.pem")
	replace := func(path, with string) { // as a careful rotation does: a new file takes the name
		t.Helper()
		text, err := os.ReadFile(with)
		if err == nil {
			err = os.WriteFile(path+"~", text, 0o600)
		}
		if err == nil {
			err = os.Rename(path+"~", path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(trusted, s.ca.File)
	replace(mine.Cert, s.client.Cert)
	replace(mine.Key, s.client.Key)
	reloads, complaints := 0, []string{}
	d := secure(t, s.Address("localhost", "app", password, "pool_max_conns=1"), dsn.TLS{CACert: trusted, ClientCert: mine.Cert, ClientKey: mine.Key})
	config, err := d.Pool(dsn.Events{
		Reloaded: func() { reloads++ }, Unreadable: func(err error) { complaints = append(complaints, err.Error()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxConns != 1 {
		t.Errorf("pool_max_conns=1 made %d", config.MaxConns)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	connects := func() error {
		pool.Reset() // what was open is no proof
		return pool.Ping(t.Context())
	}
	serial := func() (n string) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "select client_serial::text from pg_stat_ssl where pid = pg_backend_pid()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := connects(); err != nil {
		t.Fatal(err)
	}
	first := serial()

	next := pgtest.NewAuthority(t, "the next authority")
	server := next.Issue(t, pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}})
	s.present(server, withBoth)
	if err := connects(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the new authority is not known yet: %v", err)
	}
	replace(trusted, next.File)
	if err := connects(); err != nil {
		t.Errorf("after the authority changed: %v", err)
	}

	client := s.ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	replace(mine.Cert, client.Cert) // and the key not yet
	if err := connects(); err != nil || serial() != first {
		t.Errorf("half-way the old pair must do: %v", err)
	}
	replace(mine.Key, client.Key)
	if err := connects(); err != nil || serial() == first {
		t.Errorf("the new pair is not used: %v", err)
	}
	want := "STEM_TLS_CLIENT_KEY: " + mine.Key + " is not the key of STEM_TLS_CLIENT_CERT (" + mine.Cert + ")"
	if reloads != 2 || len(complaints) != 1 || complaints[0] != want {
		t.Errorf("%d reloads, complaints %q", reloads, complaints)
	}

	if err := os.Remove(trusted); err != nil {
		t.Fatal(err)
	}
	if err := connects(); err != nil {
		t.Errorf("a missing file: %v", err)
	}
}

func TestInsecureModeReportsAndNeverFallsBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rules := dsn.TLS{CACert: s.others.File, AllowInsecure: true}
	d := secure(t, s.Address("localhost", "app", password), rules)
	var said []string
	c := d.Config(dsn.Events{Unverified: func(host string, err error) { said = append(said, host+": "+err.Error()) }})
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var encrypted bool
	if err := conn.QueryRow(t.Context(), "select ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&encrypted); err != nil || !encrypted {
		t.Errorf("encrypted: %v, %v", encrypted, err)
	}
	conn.Close(t.Context())
	if len(said) != 1 || said[0] != "localhost: x509: certificate signed by unknown authority" {
		t.Errorf("said %q", said)
	}
	if host, plain := d.Exposed(); host != "localhost" || plain {
		t.Errorf("exposed to %q, plain %v", host, plain)
	}
	said = nil
	c = secure(t, s.Address("localhost", "app", password), dsn.TLS{CACert: s.ca.File, AllowInsecure: true}).
		Config(dsn.Events{Unverified: func(host string, err error) { said = append(said, host+": "+err.Error()) }})
	if conn, err = pgx.ConnectConfig(t.Context(), c); err != nil || len(said) > 0 {
		t.Fatalf("a good certificate: %v, said %q", err, said)
	}
	conn.Close(t.Context())

	s.Configure(t, "host all app 127.0.0.1/32 scram-sha-256", map[string]string{"ssl": "off"})
	if _, err = dial(t.Context(), d); err == nil || !strings.Contains(err.Error(), "the server refused TLS") {
		t.Errorf("without TLS on the server: %v", err)
	}
}

func TestVerifyCAFollowsTheFile(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.present(s.ca.Issue(t, pgtest.Leaf{Name: "elsewhere", Hosts: []string{"db.internal"}}), withPassword)
	for file, want := range map[string]string{s.ca.File: "", s.others.File: "database unreachable: x509: certificate signed by unknown authority"} {
		conn, err := dial(t.Context(), secure(t, s.Address("localhost", "app", password, "sslmode=verify-ca", "sslrootcert="+file), dsn.TLS{}))
		if err == nil {
			conn.Close(t.Context())
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
