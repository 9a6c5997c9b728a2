package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // as poolers need it
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	return conn
}

func names(list []Finding) []string {
	var all []string
	for _, f := range list {
		all = append(all, f.Name)
	}
	return all
}

func TestWhatTheFactsMean(t *testing.T) {
	t.Parallel()
	good := facts{
		database: "shop", login: "app", version: "15.18", major: 15, encoding: "UTF8", isolation: "read committed",
		settings: map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "statement_timeout": "0"},
		owner:    "stem_owner", slack: time.Millisecond,
	}
	if got := good.findings(); len(got) > 0 {
		t.Errorf("found %v in what is good", got)
	}
	tests := map[string]struct {
		change        func(*facts)
		message, more string // the message, and what the fix contains
	}{
		"server_too_old": {func(f *facts) { f.version, f.major = "11.4", 11 }, "PostgreSQL 11.4; need 14 or newer", "upgrade"},
		"bad_encoding":   {func(f *facts) { f.encoding = "LATIN1" }, `database "shop" is LATIN1; Stem needs UTF8`, "createdb"},
		"standby": {
			func(f *facts) { f.recovering = true }, "the server is in recovery (read-only): nothing can be enqueued, claimed or settled there",
			"target_session_attrs=read-write",
		},
		"clock": {
			func(f *facts) { f.offset = -12*time.Minute - 3*time.Second },
			"the clock here is 12m3s ahead of the server's: times in logs and signatures are off by that, and certificates may seem expired", "time service",
		},
		"no_limits": {
			func(f *facts) { f.pooled, f.login = true, `a"b` },
			`a pooler stands between, so Stem cannot set time limits for its sessions, and none are set for a"b`,
			`alter role "a""b" set statement_timeout = '30s'`,
		},
	}
	for name, tt := range tests {
		f := good
		tt.change(&f)
		got := f.findings()
		if len(got) != 1 || got[0].Name != name || got[0].Message != tt.message || !strings.Contains(got[0].Fix, tt.more) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	f := good
	f.offset = 4 * time.Second // a clock that nobody keeps is further off, and a slow answer is no evidence
	if got := f.findings(); len(got) > 0 {
		t.Errorf("found %v", got)
	}
	f.offset, f.slack = time.Minute, time.Minute
	if got := f.findings(); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

func TestCertificatesAreToBeRenewedInTime(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{
		15 * 24 * time.Hour: "", 48*time.Hour + time.Minute: "in 48h", -time.Minute: "has expired on 20",
	} {
		got := expiring("x", "it", time.Now().Add(left), "fix")
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0].Message, want)) {
			t.Errorf("%s left: %v, want %q", left, got, want)
		}
	}
}

func TestClocksOfOneMachineAgree(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Database(t))
	var f facts
	if err := f.lookAtClock(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if pgtest.Server(t).Rung != devpg.RungURL && f.offset.Abs() > f.slack+10*time.Millisecond {
		t.Errorf("one machine's clock differs by %s (± %s) from itself", f.offset, f.slack)
	}
}

func TestAPoolerIsSeen(t *testing.T) {
	t.Parallel()
	direct := pgtest.Login(t, pgtest.Database(t))
	pooled := pgtest.PgBouncer(t, direct)
	for url, want := range map[string]bool{direct: false, pooled: true} {
		conn := connect(t, url)
		found, err := Examine(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(names(found), "no_limits"); got != want {
			t.Errorf("pooled %v: found %v", want, names(found))
		}
		deaf, err := Deaf(t.Context(), connect(t, url), conn)
		if err != nil || deaf != want {
			t.Errorf("pooled %v: deaf %v, %v", want, deaf, err)
		}
	}
}

func TestAStandbyIsSeen(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t, devpg.Config{})
	if err := os.WriteFile(filepath.Join(server.Dir, "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := Examine(t.Context(), connect(t, server.URL))
	if err != nil || !slices.Contains(names(found), "standby") {
		t.Errorf("found %v, %v", names(found), err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := pgtest.NewTLSServer(t)
	s.Exec(t, "create role app login password 's3cret'")
	ca := pgtest.NewAuthority(t, "one authority")
	good, foreign := ca.Issue(t, pgtest.Leaf{Name: "server", Hosts: []string{"localhost", "127.0.0.1"}}), ca.Issue(t, pgtest.Leaf{Name: "server", Hosts: []string{"db.internal"}})
	client := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	wrong := ca.Issue(t, pgtest.Leaf{Name: "app"}) // a server's
	const open = "hostssl all app 127.0.0.1/32 scram-sha-256"
	tests := map[string]struct {
		hba      string
		server   pgtest.Pair
		settings map[string]string
		rules    dsn.TLS
		want     Handshake // Host, Address, Chain and Cipher aside
	}{
		"good": {
			hba: open, server: good, rules: dsn.TLS{CACert: ca.File, ClientCert: client.Cert, ClientKey: client.Key},
			want: Handshake{
				Protocol: "TLS 1.3", Asked: true, Accepts: []string{"CN=one authority"}, Presented: "CN=app",
				Methods: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"},
			},
		},
		"another host, and no password asked for": {
			hba: "hostssl all app 127.0.0.1/32 trust", server: foreign, rules: dsn.TLS{CACert: ca.File},
			want: Handshake{
				Protocol: "TLS 1.3", Asked: true, Accepts: []string{"CN=one authority"}, Methods: []string{"none"},
				Verdict: "x509: certificate is valid for db.internal, not localhost",
				Advice:  "Connect to one of db.internal or reissue the certificate with localhost (subjectAltName=DNS:localhost).",
			},
		},
		"in the clear": {
			hba: "hostssl all app 127.0.0.1/32 password", server: good, settings: map[string]string{"ssl_ca_file": ""}, rules: dsn.TLS{CACert: ca.File},
			want: Handshake{Protocol: "TLS 1.3", Methods: []string{"password"}},
		},
		"not let in": {
			hba: "hostssl all nobody 127.0.0.1/32 scram-sha-256", server: good, rules: dsn.TLS{CACert: ca.File},
			want: Handshake{
				Protocol: "TLS 1.3", Asked: true, Accepts: []string{"CN=one authority"},
				Refusal: `no pg_hba.conf entry for host "127.0.0.1", user "app", database "postgres", SSL encryption`,
				Remedy:  "pg_hba.conf on the server names neither this host, user and database nor all of them; add a hostssl line.",
			},
		},
		"the client's certificate is no good": {
			hba: open, server: good, rules: dsn.TLS{CACert: ca.File, ClientCert: wrong.Cert, ClientKey: wrong.Key},
			want: Handshake{
				Protocol: "TLS 1.3", Asked: true, Accepts: []string{"CN=one authority"}, Presented: "CN=app", Refusal: "tls: unsupported certificate",
				Remedy: "The server does not accept the certificate of STEM_TLS_CLIENT_CERT (app): its issuer must be in the server's ssl_ca_file, " +
					"it must be a client's, and not revoked.",
			},
		},
		"old": {
			hba: open, server: good, rules: dsn.TLS{CACert: ca.File},
			settings: map[string]string{"ssl_max_protocol_version": "TLSv1.2"},
			want: Handshake{
				Protocol: "TLS 1.2", Asked: true, Accepts: []string{"CN=one authority"}, Methods: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"},
			},
		},
		"no TLS": {
			hba: "host all app 127.0.0.1/32 scram-sha-256", server: good, settings: map[string]string{"ssl": "off"}, rules: dsn.TLS{CACert: ca.File},
			want: Handshake{Verdict: "server refused TLS connection", Advice: "Server has ssl=off or a proxy sits in between. Turn ssl on."},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s.Configure(t, tt.hba, map[string]string{
				"ssl": "on", "ssl_cert_file": tt.server.Cert, "ssl_key_file": tt.server.Key, "ssl_ca_file": ca.File, "ssl_max_protocol_version": "",
			})
			if tt.settings != nil {
				s.Configure(t, tt.hba, tt.settings)
			}
			d, err := dsn.Parse(s.Address("localhost", "app", "s3cret"))
			if err == nil {
				d, err = d.Secure(tt.rules)
			}
			if err != nil {
				t.Fatal(err)
			}
			ways := d.Ways()
			if len(ways) != 1 {
				t.Fatalf("%d ways", len(ways))
			}
			got := Explain(t.Context(), d, ways[0])
			for strings.Contains(got.Refusal, "reset") || strings.Contains(got.Refusal, "pipe") { // the reason was lost with the connection
				got = Explain(t.Context(), d, ways[0])
			}
			if got.Reached != (tt.want.Protocol != "") || got.Reached != (len(got.Chain) > 0) || got.Address != ways[0].Address() {
				t.Errorf("got %+v", got)
			}
			tt.want.Reached, tt.want.Host, tt.want.Address, tt.want.Negotiation = got.Reached, "localhost", got.Address, "postgres"
			got.Chain, got.Cipher, got.seen = nil, "", nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Handshake{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
