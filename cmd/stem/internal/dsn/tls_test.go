package dsn_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSecure(t *testing.T) {
	t.Parallel()
	ca := pgtest.NewAuthority(t, "one authority")
	client := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	insecure, pair := dsn.TLS{AllowInsecure: true}, dsn.TLS{ClientCert: client.Cert, ClientKey: client.Key}
	const weak = " does not check that the server is db.internal; use sslmode=verify-full with sslrootcert=PATH or STEM_TLS_CA_CERT"
	tests := []struct {
		raw  string
		tls  dsn.TLS
		want string // an error, or what the URL must contain
	}{
		{raw: "postgres://db.internal/shop", want: "sslmode=verify-full"},
		{raw: "postgres://db.internal/shop?sslmode=verify-full", want: "sslmode=verify-full"},
		{raw: "postgres://localhost/shop", want: "sslmode=prefer"},
		{raw: "postgres://127.0.0.1/shop?sslmode=disable", want: "sslmode=disable"},
		{raw: "postgres://[::1]:5433/shop", want: "sslmode=prefer"},
		{raw: "postgres:///shop?host=/run/postgresql", want: "sslmode=prefer"},
		{raw: "postgres://localhost:5432,db.internal:5432/shop", want: "sslmode=verify-full"},
		{raw: "postgres:///shop?host=@db.internal&sslmode=disable", want: "could not read the port; if the password contains / @ : # % encode it (/ = %2F)"},

		{raw: "postgres://db.internal/shop?sslmode=require", want: "sslmode=require" + weak},
		{raw: "postgres://db.internal/shop?sslmode=verify-ca", want: "sslmode=verify-ca" + weak},
		{raw: "postgres://db.internal/shop?sslmode=allow", want: "sslmode=allow" + weak},
		{raw: "postgres://localhost,db.internal/shop?sslmode=prefer", want: "sslmode=prefer" + weak},
		{raw: "postgres://db.internal/shop?sslmode=require", tls: insecure, want: "sslmode=require" + weak},
		{
			raw:  "postgres://db.internal/shop?sslmode=disable",
			want: "sslmode=disable would send everything to db.internal in the clear; use sslmode=verify-full, or set STEM_TLS_ALLOW_INSECURE=true as well",
		},
		{raw: "postgres://db.internal/shop?sslmode=disable", tls: insecure, want: "sslmode=disable"},

		// Who names a file wants TLS, and TLS is verified.
		{raw: "postgres://localhost/shop", tls: dsn.TLS{CACert: ca.File}, want: "sslmode=verify-full&sslrootcert="},
		{raw: "postgres://localhost/shop?sslrootcert=" + ca.File, want: "sslmode=verify-full"},
		{raw: "postgres://localhost/shop", tls: pair, want: "sslmode=verify-full"},
		{raw: "postgres://localhost/shop", tls: dsn.TLS{Negotiation: "direct"}, want: "sslmode=verify-full"},
		{raw: "postgres://localhost/shop", tls: dsn.TLS{Negotiation: "postgres"}, want: "sslmode=prefer"},
		{
			raw: "postgres://localhost/shop?sslmode=disable", tls: dsn.TLS{CACert: ca.File}, // row 68
			want: "sslmode=disable contradicts STEM_TLS_CA_CERT; remove one, or use sslmode=verify-full",
		},
		{
			raw: "postgres://db.internal/shop?sslmode=require", tls: dsn.TLS{CACert: ca.File},
			want: "sslmode=require contradicts STEM_TLS_CA_CERT; remove one, or use sslmode=verify-full",
		},
		{
			raw:  "postgres://localhost/shop?sslmode=disable&sslrootcert=system",
			want: "sslmode=disable contradicts sslrootcert=system; use sslmode=verify-full",
		},
		{
			raw: "postgres://localhost/shop?sslmode=prefer", tls: pair,
			want: "sslmode=prefer contradicts STEM_TLS_CLIENT_CERT, which is for TLS alone; remove one, or use sslmode=verify-full",
		},
		{
			raw: "postgres://localhost/shop?sslmode=disable", tls: dsn.TLS{Negotiation: "direct"},
			want: "sslmode=disable contradicts STEM_TLS_NEGOTIATION, which is for TLS alone; remove one, or use sslmode=verify-full",
		},
		{
			raw: "postgres://db.internal/shop?sslrootcert=/other.pem", tls: dsn.TLS{CACert: ca.File},
			want: "sslrootcert in the URL and STEM_TLS_CA_CERT name different files; set only one",
		},
		{raw: "postgres://db.internal/shop?sslrootcert=" + ca.File, tls: dsn.TLS{CACert: ca.File}, want: "sslmode=verify-full"},
		{
			raw: "postgres://db.internal/shop?sslnegotiation=postgres", tls: dsn.TLS{Negotiation: "direct"},
			want: "sslnegotiation=postgres in the URL contradicts STEM_TLS_NEGOTIATION=direct; set only one",
		},
		{
			raw: "postgres://db.internal/shop?sslcertmode=disable", tls: pair,
			want: "sslcertmode=disable contradicts STEM_TLS_CLIENT_CERT; remove one",
		},
	}
	for _, tt := range tests {
		d, err := dsn.Parse(tt.raw)
		if err == nil {
			d, err = d.Secure(tt.tls)
		}
		if err != nil && err.Error() != tt.want || err == nil && !strings.Contains(d.String(), tt.want) {
			t.Errorf("Secure(%q)\n got %v, %v\nwant %s", tt.raw, d, err, tt.want)
		}
	}
}

// secure parses a URL and applies the rules.
func secure(t *testing.T, raw string, rules dsn.TLS) dsn.DSN {
	t.Helper()
	d, err := dsn.Parse(raw)
	if err == nil {
		d, err = d.Secure(rules)
	}
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return d
}

// ways lists the TLS of each way to a server, by host.
func ways(c *pgx.ConnConfig) map[string]*tls.Config {
	all := map[string]*tls.Config{c.Host: c.TLSConfig}
	for _, f := range c.Fallbacks {
		all[f.Host] = f.TLSConfig
	}
	return all
}

func TestEveryWayToAServerIsVerified(t *testing.T) {
	t.Parallel()
	ca := pgtest.NewAuthority(t, "one authority")
	client := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	rules := dsn.TLS{CACert: ca.File, ClientCert: client.Cert, ClientKey: client.Key}
	d := secure(t, "postgres://app:s3cret@localhost,db.internal:5433,10.0.0.1,[fd00::1]/shop", rules)
	c := d.Config(dsn.Events{})
	for _, host := range []string{"localhost", "db.internal", "10.0.0.1", "fd00::1"} {
		way := ways(c)[host]
		if way == nil {
			t.Errorf("%s has no TLS", host)
			continue
		}
		if way.ServerName != host || way.InsecureSkipVerify || way.MinVersion != tls.VersionTLS12 || way.RootCAs == nil || len(way.Certificates) != 1 {
			t.Errorf("%s: %+v", host, way)
		}
	}
	if c.ChannelBinding != "require" || c.RequireAuth != "scram-sha-256" || c.SSLCertMode != "require" || c.SSLNegotiation != "postgres" {
		t.Errorf("channel binding %s, auth %s, certificate %s, negotiation %s", c.ChannelBinding, c.RequireAuth, c.SSLCertMode, c.SSLNegotiation)
	}

	// What the URL says aloud stands.
	c = secure(t, "postgres://app:s3cret@db.internal/shop?channel_binding=prefer&require_auth=md5,scram-sha-256&sslcertmode=allow"+
		"&ssl_min_protocol_version=TLSv1.3", rules).Config(dsn.Events{})
	if c.ChannelBinding != "prefer" || c.RequireAuth != "md5,scram-sha-256" || c.SSLCertMode != "allow" || c.TLSConfig.MinVersion != tls.VersionTLS13 {
		t.Errorf("channel binding %s, auth %s, certificate %s, TLS %x", c.ChannelBinding, c.RequireAuth, c.SSLCertMode, c.TLSConfig.MinVersion)
	}
	if len(c.RuntimeParams) > 0 {
		t.Errorf("the server would be told %v", c.RuntimeParams)
	}
	// Without a password there is nothing to bind.
	if c = secure(t, "postgres://app@db.internal/shop", rules).Config(dsn.Events{}); c.ChannelBinding != "prefer" || c.RequireAuth != "" {
		t.Errorf("channel binding %s, auth %s", c.ChannelBinding, c.RequireAuth)
	}
	// Insecure mode changes what comes of the verification, and nothing else.
	rules.AllowInsecure = true
	c = secure(t, "postgres://app:s3cret@db.internal/shop", rules).Config(dsn.Events{})
	if !c.TLSConfig.InsecureSkipVerify || c.TLSConfig.VerifyConnection == nil || c.ChannelBinding != "require" || c.SSLCertMode != "require" || len(c.Fallbacks) > 0 {
		t.Errorf("insecure: %+v", c.TLSConfig)
	}
}

func TestSocketsNeedNoTLS(t *testing.T) {
	t.Parallel()
	ca := pgtest.NewAuthority(t, "one authority")
	d := secure(t, "postgres://app:s3cret@/shop?host=/run/postgresql&sslmode=verify-full", dsn.TLS{CACert: ca.File})
	if !d.Ignored() { // row 67
		t.Error("settings without effect are not reported")
	}
	if c := d.Config(dsn.Events{}); c.TLSConfig != nil || c.ChannelBinding == "require" || c.RequireAuth != "" {
		t.Errorf("TLS for a socket: %+v", c)
	}
	if secure(t, "postgres://app@/shop?host=/run/postgresql", dsn.TLS{}).Ignored() {
		t.Error("there is nothing to ignore")
	}
}

// Not parallel: it changes the environment.
func TestEnvironmentAndHomeHaveNoSay(t *testing.T) {
	home := t.TempDir()
	ca := pgtest.NewAuthority(t, "of the home")
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		".postgresql/root.crt": string(text), ".postgresql/postgresql.crt": "x", ".postgresql/postgresql.key": "x",
		".pgpass": "*:*:*:*:leaked\n", ".pg_service.conf": "[leak]\nhost=leaked\nsslmode=disable\noptions=-c leaked=1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	for name, value := range map[string]string{
		"PGHOST": "leaked", "PGPORT": "1111", "PGDATABASE": "leaked", "PGUSER": "leaked", "PGPASSWORD": "leaked", "PGSSLMODE": "disable",
		"PGSSLROOTCERT": "/leaked", "PGSSLCERT": "/leaked", "PGSSLKEY": "/leaked", "PGSSLCERTMODE": "disable", "PGSSLNEGOTIATION": "direct",
		"PGCHANNELBINDING": "disable", "PGREQUIREAUTH": "none", "PGOPTIONS": "-c leaked=1", "PGTZ": "leaked", "PGAPPNAME": "leaked",
		"PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "99", "PGMINPROTOCOLVERSION": "3.2", "PGSERVICE": "leak",
	} {
		t.Setenv(name, value)
	}
	for _, raw := range []string{"postgres://app:s3cret@db.internal/shop", "postgres://db.internal", "postgresql:///?host=db.internal&user=app"} {
		d := secure(t, raw, dsn.TLS{})
		c := d.Config(dsn.Events{})
		if c.Host != "db.internal" || c.Port != 5432 || len(c.Fallbacks) > 0 || c.TLSConfig == nil || c.TLSConfig.ServerName != "db.internal" ||
			c.TLSConfig.RootCAs != nil || c.TLSConfig.Certificates != nil || c.SSLNegotiation != "postgres" || c.SSLCertMode != "allow" ||
			c.RequireAuth == "none" || c.ChannelBinding == "disable" || c.MinProtocolVersion != "3.0" || c.ValidateConnect != nil ||
			c.ConnectTimeout.Seconds() != 10 || len(c.RuntimeParams) > 0 || strings.Contains(d.URL()+d.Target().String()+c.Password, "leaked") {
			t.Errorf("%s: %+v", raw, c)
		}
		pool, err := d.Pool(dsn.Events{})
		if err != nil || pool.ConnConfig.Host != "db.internal" || len(pool.ConnConfig.RuntimeParams) > 0 {
			t.Errorf("%s: %v, %+v", raw, err, pool)
		}
	}
	if c := secure(t, "postgres:///shop", dsn.TLS{}).Config(dsn.Events{}); c.Host == "leaked" || c.Port != 5432 {
		t.Errorf("host %s, port %d", c.Host, c.Port)
	}
	t.Setenv("PGSERVICE", "none")
	const want = `PGSERVICE names the service "none", which pgx cannot read; Stem does not use services: unset PGSERVICE`
	if _, err := dsn.Parse("postgres://app:s3cret@db.internal/shop"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAPlusInAURLIsAPlus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := pgtest.NewAuthority(t, "one authority")
	path := filepath.Join(dir, "a+b c.pem")
	if err := os.Rename(ca.File, path); err != nil {
		t.Fatal(err)
	}
	secure(t, "postgres://h/d?sslrootcert="+dir+"/a+b%20c.pem", dsn.TLS{})
	secure(t, "postgres://h/d", dsn.TLS{CACert: path})
}
