package dsn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/pgtest"
)

const password = "s3cret-of-the-test"

// scene is a server with certificates of its own, and a login on it.
type scene struct {
	*pgtest.TLSServer

	t          *testing.T
	ca, others *pgtest.Authority
	good       pgtest.Pair // the server's
	client     pgtest.Pair // of the role app
}

const (
	withPassword = "hostssl all app 127.0.0.1/32 scram-sha-256"
	withBoth     = "hostssl all app 127.0.0.1/32 scram-sha-256 clientcert=verify-full"
)

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{TLSServer: pgtest.NewTLSServer(t), t: t}
	s.ca, s.others = pgtest.NewAuthority(t, "authority of the test"), pgtest.NewAuthority(t, "another authority")
	s.good = s.ca.Issue(t, pgtest.Leaf{Name: "server", Hosts: []string{"localhost", "127.0.0.1"}})
	s.client = s.ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	s.Exec(t, "create role app login password '"+password+"'")
	s.present(s.good, withPassword)
	return s
}

// present makes the server show a certificate and let in whom the lines say.
func (s *scene) present(p pgtest.Pair, hba string) {
	s.t.Helper()
	s.Configure(s.t, hba, map[string]string{"ssl": "on", "ssl_cert_file": p.Cert, "ssl_key_file": p.Key, "ssl_ca_file": s.ca.File})
}

func (s *scene) rules(client pgtest.Pair) dsn.TLS {
	return dsn.TLS{CACert: s.ca.File, ClientCert: client.Cert, ClientKey: client.Key}
}

// dial connects and returns the error as a command would print it. Where the server's reason was lost on the way, which
// happens with TLS 1.3, it tries again.
func dial(ctx context.Context, d dsn.DSN) (*pgx.Conn, error) {
	for {
		conn, err := pgx.ConnectConfig(ctx, d.Config(dsn.Events{}))
		if err = fault.From(err, d.Target()); err == nil {
			return conn, nil
		}
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != "tls_cut_off" || ctx.Err() != nil {
			return nil, err
		}
	}
}

// row is a line of the table of errors.
type row struct {
	name     string
	hba      string            // "" is withPassword
	settings map[string]string // of the server; nil is none
	server   *pgtest.Pair      // nil is the good one
	host     string            // "" is localhost
	params   string
	password string // "" is the right one, "-" none
	rules    *dsn.TLS
	exit     int
	message  string // $ stands for the target
	hint     string
}

// TestEachErrorNamesItsRemedy provokes each line of the table of errors on a real server.
func TestEachErrorNamesItsRemedy(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	issue := func(a *pgtest.Authority, leaf pgtest.Leaf) *pgtest.Pair {
		p := a.Issue(t, leaf)
		return &p
	}
	day := func(n int) time.Time { return time.Now().AddDate(0, 0, n) }
	with := func(client pgtest.Pair) *dsn.TLS { r := s.rules(client); return &r }
	foreign, stranger := s.others.Issue(t, pgtest.Leaf{Name: "app", Client: true}), s.ca.Issue(t, pgtest.Leaf{Name: "somebody", Client: true})
	notClient := s.ca.Issue(t, pgtest.Leaf{Name: "app"})
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	rows := []row{
		{
			name: "unknown CA", server: issue(s.others, pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}}), exit: 69,
			message: `database unreachable: x509: certificate signed by unknown authority ($)`,
			hint: `The server's certificate was issued by another authority. STEM_TLS_CA_CERT=` + s.ca.File + ` contains authority of the test. ` +
				`Point it at the CA that signed the server certificate.`,
		},
		{
			name: "another CA of the same name", exit: 69,
			server:  issue(pgtest.NewAuthority(t, "authority of the test"), pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}}),
			message: `~database unreachable: x509: certificate signed by unknown authority \(possibly because of .*\) \($\)`,
			hint: `The server's certificate was issued by authority of the test. STEM_TLS_CA_CERT=` + s.ca.File + ` contains authority of the test, ` +
				`which has another key. Point it at the CA that signed the server certificate.`,
		},
		{
			name: "no CA", rules: &dsn.TLS{}, params: "sslmode=verify-full", exit: 69,
			message: `database unreachable: x509: certificate signed by unknown authority ($)`,
			hint: `The server's certificate was issued by authority of the test, which this system does not know. ` +
				`Set STEM_TLS_CA_CERT to the CA that signed the server certificate.`,
		},
		{
			name: "wrong host", server: issue(s.ca, pgtest.Leaf{Name: "server", Hosts: []string{"db.internal", "10.1.2.3"}}), exit: 69,
			message: `database unreachable: x509: certificate is valid for db.internal, not localhost ($)`,
			hint:    `Connect to one of db.internal, 10.1.2.3 or reissue the certificate with localhost (subjectAltName=DNS:localhost).`,
		},
		{
			name: "IP used", host: "127.0.0.1", server: issue(s.ca, pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}}), exit: 69,
			message: `database unreachable: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs ($)`,
			hint:    `Connect to one of localhost or reissue the certificate with 127.0.0.1 (subjectAltName=IP:127.0.0.1).`,
		},
		{
			name: "CN only", server: issue(s.ca, pgtest.Leaf{Name: "localhost"}), exit: 69,
			message: `database unreachable: x509: certificate relies on legacy Common Name field, use SANs instead ($)`,
			hint:    `Reissue with subjectAltName=DNS:localhost.`,
		},
		{
			name: "server expired", server: issue(s.ca, pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}, From: day(-9), Until: day(-2)}), exit: 69,
			message: `~database unreachable: x509: certificate has expired or is not yet valid: current time \S+ is after \S+ \($\)`,
			hint:    `~The certificate of server is valid from ` + stamp + ` to ` + stamp + `; the clock here says ` + stamp + `\. Renew it on the server, or set the clock\.`,
		},
		{
			name: "a client's certificate at the server", server: issue(s.ca, pgtest.Leaf{Name: "server", Hosts: []string{"localhost"}, Client: true}), exit: 69,
			message: `database unreachable: x509: certificate specifies an incompatible key usage ($)`,
			hint:    `Reissue the server's certificate for what it is used for: a server's, signed by a CA that may.`,
		},
		{
			name: "no client certificate", hba: withBoth, exit: 77,
			message: `the database refused the login: connection requires a valid client certificate ($)`,
			hint:    `Set STEM_TLS_CLIENT_CERT/KEY; the issuer must be in the server's ssl_ca_file.`,
		},
		{
			name: "client certificate of another CA", hba: withBoth, rules: with(foreign), exit: 77,
			message: `the database refused the login: connection requires a valid client certificate ($)`,
			hint: `STEM_TLS_CLIENT_CERT (app) was not sent, because the server asked for one of other issuers: ` +
				`the issuer must be in the server's ssl_ca_file.`,
		},
		{
			name: "client certificate of another name", hba: withBoth, rules: with(stranger), exit: 77,
			message: `the database refused the login: password authentication failed for user "app" ($)`,
			hint: `With a client certificate configured this can also mean its CN (somebody) is not the role app; ` +
				`the server log has the reason.`,
		},
		{
			name: "certificate alone, of another name", hba: "hostssl all app 127.0.0.1/32 cert", rules: with(stranger), password: "-", exit: 77,
			message: `the database refused the login: certificate authentication failed for user "app" ($)`,
			hint:    `The CN of STEM_TLS_CLIENT_CERT (somebody) must be the role app, or pg_ident.conf must map it.`,
		},
		{
			name: "not a client's certificate", hba: withBoth, rules: with(notClient), exit: 69,
			message: `database unreachable: the server ended the handshake: unsupported certificate ($)`,
			hint: `The server does not accept the certificate of STEM_TLS_CLIENT_CERT (app): its issuer must be in the server's ssl_ca_file, ` +
				`it must be a client's, and not revoked.`,
		},
		{
			name: "the server never asked for it", rules: with(s.client), settings: map[string]string{"ssl_ca_file": ""}, exit: 77,
			message: `the server let this client in without looking at its certificate ($)`,
			hint:    `Set ssl_ca_file on the server and clientcert=verify-full in pg_hba.conf; or unset STEM_TLS_CLIENT_CERT, or put sslcertmode=allow into the URL.`,
		},
		{
			name: "server without TLS", hba: "host all app 127.0.0.1/32 scram-sha-256", settings: map[string]string{"ssl": "off"}, exit: 69,
			message: `database unreachable: the server refused TLS ($)`,
			hint:    `Server has ssl=off or a proxy sits in between. Turn ssl on.`,
		},
		{
			name: "pg_hba demands TLS", rules: &dsn.TLS{}, params: "sslmode=disable", exit: 77,
			message: `the database refused the login: no pg_hba.conf entry for host "127.0.0.1", user "app", database "postgres", no encryption ($)`,
			hint:    `The server only accepts TLS from here: remove sslmode=disable.`,
		},
		{
			name: "pg_hba knows nobody", hba: "hostssl all somebody 127.0.0.1/32 scram-sha-256", exit: 77,
			message: `the database refused the login: no pg_hba.conf entry for host "127.0.0.1", user "app", database "postgres", SSL encryption ($)`,
			hint:    `pg_hba.conf on the server names neither this host, user and database nor all of them; add a hostssl line.`,
		},
		{
			name: "old protocol", settings: map[string]string{"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}, exit: 69,
			message: `database unreachable: the server ended the handshake: protocol version not supported ($)`,
			hint:    `Server offers less than TLS 1.2; set ssl_min_protocol_version on the server.`,
		},
		{
			name: "auth method", hba: "hostssl all app 127.0.0.1/32 password", params: "channel_binding=prefer", exit: 77,
			message: `the server asked for another proof of who this is: authentication method requirement "scram-sha-256" failed: server requested password authentication ($)`,
			hint: `Store the password as scram-sha-256 on the server (password_encryption, then set it anew), or put require_auth= with ` +
				`what the server may ask for into the URL.`,
		},
		{
			name: "no channel binding", hba: "hostssl all app 127.0.0.1/32 password", exit: 77,
			message: `the server did not prove the password over this very TLS connection ($)`,
			hint: `A pooler in between cannot, nor can a password that is not stored as scram-sha-256. ` +
				`If the pooler is meant, put channel_binding=prefer into the URL.`,
		},
		{
			name: "wrong password", password: "wrong", exit: 77,
			message: `the database refused the login: password authentication failed for user "app" ($)`,
			hint:    `check the user, its password and pg_hba.conf; the server log has the reason`,
		},
		{
			name: "no password", password: "-", exit: 77,
			message: `the database refused the login: password authentication failed for user "app" ($)`,
			hint:    `the URL has no password; PGPASSWORD and ~/.pgpass are not read, but passfile=PATH in the URL is`,
		},
		{
			name: "too many connections", settings: map[string]string{"authentication_timeout": "60s"}, exit: 69,
			message: `the server takes no more connections: too many connections for role "app" ($)`,
			hint:    `raise max_connections, or connect through a pooler`,
		},
		{
			name: "no such database", params: "dbname=none", exit: 69,
			message: `database "none" does not exist ($)`, hint: `create it first: createdb none`,
		},
		{
			name: "unknown setting", params: "options=-c%20sslrotcert%3D1", exit: 78,
			message: `unrecognized configuration parameter "sslrotcert" ($)`,
			hint:    `look at options= in the URL, and at what alter role and alter database set`,
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { s.check(t, r) })
	}
}

func (s *scene) check(t *testing.T, r row) {
	t.Helper()
	if r.name == "too many connections" {
		s.Exec(t, "alter role app connection limit 0")
		defer s.Exec(t, "alter role app connection limit -1")
	}
	server, hba, rules, secret := s.good, withPassword, s.rules(pgtest.Pair{}), password
	if r.server != nil {
		server = *r.server
	}
	if r.hba != "" {
		hba = r.hba
	}
	if r.rules != nil {
		rules = *r.rules
	}
	if r.password != "" {
		secret = strings.TrimPrefix(r.password, "-")
	}
	s.present(server, hba)
	if r.settings != nil {
		s.Configure(t, hba, r.settings)
		defer func() {
			for name := range r.settings {
				r.settings[name] = ""
			}
			s.Configure(t, withPassword, r.settings)
		}()
	}
	host := "localhost"
	if r.host != "" {
		host = r.host
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := dial(ctx, secure(t, s.Address(host, "app", secret, r.params), rules))
	if err == nil {
		conn.Close(ctx)
		t.Fatal("it connected")
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Fatalf("no fault: %v", err)
	}
	target := fmt.Sprintf("%s:%d, user app, database postgres", host, s.Port)
	if r.params == "dbname=none" {
		target = strings.Replace(target, "postgres", "none", 1)
	}
	if !matches(r.message, f.Message, target) || !matches(r.hint, f.Hint, target) || f.Exit != r.exit {
		t.Errorf("got  %s\n     %s (%d)\nwant %s\n     %s (%d)", f.Message, f.Hint, f.Exit, r.message, r.hint, r.exit)
	}
	if all := f.Message + f.Hint; strings.Contains(all, password) || strings.Contains(all, "postgres://") {
		t.Errorf("it gives the URL away: %s", all)
	}
}

// matches compares with a text, or with an expression that begins with ~; $ stands for the target.
func matches(want, got, target string) bool {
	if expression, is := strings.CutPrefix(want, "~"); is {
		return regexp.MustCompile("^" + strings.ReplaceAll(expression, "$", regexp.QuoteMeta(target)) + "$").MatchString(got)
	}
	return strings.ReplaceAll(want, "$", target) == got
}

// A port that nobody listens on, one where nobody answers, and a host that is not.
func TestUnreachableServers(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // nobody was served
	for _, tt := range []struct{ host, timeout, want string }{
		{"127.0.0.1:1", "60", "connection refused"},
		{silent.Addr().String(), "1", "no answer within 1s"},
		{"stem.invalid:5432", "60", "no such host stem.invalid"}, // says a name server, and it may take its time
	} {
		d := secure(t, "postgres://app:"+password+"@"+tt.host+"/shop?connect_timeout="+tt.timeout, dsn.TLS{})
		_, err := dial(t.Context(), d)
		if want := "database unreachable: " + tt.want + " (" + tt.host + ", user app, database shop)"; err == nil || err.Error() != want || fault.Exit(err) != 69 {
			t.Errorf("got %v (%d)\nwant %s", err, fault.Exit(err), want)
		}
	}
}

func TestAnExpiredClientCertificateIsRefusedHereAndThere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.present(s.good, withBoth)
	until := time.Now().Add(6 * time.Second)
	short := s.ca.Issue(t, pgtest.Leaf{Name: "app", Client: true, Until: until})
	d := secure(t, s.Address("localhost", "app", password), s.rules(short)) // it was valid when it was read
	<-time.After(time.Until(until.Add(100 * time.Millisecond)))
	_, err := dial(t.Context(), d)
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !matches(`database unreachable: the server ended the handshake: expired certificate ($)`, f.Message,
		fmt.Sprintf("localhost:%d, user app, database postgres", s.Port)) || !strings.HasPrefix(f.Hint, "Renew STEM_TLS_CLIENT_CERT (expired 20") {
		t.Errorf("got %v, %+v", err, f)
	}
	if err := s.rules(short).Check(); err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("Check() = %v", err)
	}
}

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rules := s.rules(pgtest.Pair{})
	for _, negotiation := range []string{"postgres", "auto", "direct"} {
		rules.Negotiation = negotiation
		d := secure(t, s.Address("localhost", "app", password), rules).Negotiate(t.Context())
		want := "postgres"
		if negotiation != "postgres" && s.Major >= 17 || negotiation == "direct" {
			want = "direct"
		}
		if got := d.Config(dsn.Events{}).SSLNegotiation; got != want {
			t.Errorf("%s: negotiation is %s, want %s", negotiation, got, want)
		}
		conn, err := dial(t.Context(), d)
		if want == "direct" && s.Major < 17 {
			if f, ok := errors.AsType[*fault.Error](err); !ok || f.Hint != "sslnegotiation=direct needs PostgreSQL 17." {
				t.Errorf("%s: %v", negotiation, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", negotiation, err)
			continue
		}
		conn.Close(t.Context())
	}
}
