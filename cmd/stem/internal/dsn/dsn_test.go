package dsn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
)

const encode = "could not read the port; if the password contains / @ : # % encode it (/ = %2F)"

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"redis://localhost:6379/0":       `Stem uses Postgres only; got scheme "redis". Example: postgres://user@host/db?sslmode=verify-full`,
		"host=localhost password=s3cret": "want a URL such as postgres://user@host/db?sslmode=verify-full",
		"":                               "want a URL such as postgres://user@host/db?sslmode=verify-full",
		"postgres://app:s3/cret@db.internal/shop":                        encode,
		"postgres://app:s3@cret@db.internal/shop":                        encode,
		"postgres://app:s3#cret@db.internal/shop":                        encode,
		"postgres://app:s3%cret@db.internal/shop":                        encode,
		"postgres://app:s3?cret=1@db.internal/shop":                      encode,
		"postgres://app:s3?cret@db.internal/shop":                        encode,
		"postgres://app:s3cret@db.internal:x/shop":                       encode,
		"postgres://app:s3cret@db.internal:99999/shop":                   encode,
		"postgres://db.internal/shop?sslmode=verify_full":                `sslmode "verify_full": did you mean verify-full?`,
		"postgres://db.internal/shop?sslmode=zzz":                        `sslmode "zzz": want disable, allow, prefer, require, verify-ca, verify-full`,
		"postgres://db.internal/shop?sslrotcert=/ca":                     `unknown connection parameter "sslrotcert". Did you mean sslrootcert?`,
		"postgres://db.internal/shop?servicefile=/x":                     `unknown connection parameter "servicefile"`,
		"postgres://h/d?sslmode=disable&sslmode=require":                 `connection parameter "sslmode" is given twice`,
		"postgres://h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem": "/nowhere/ca.pem: no such file or directory",
	} {
		_, err := dsn.Parse(raw)
		if err == nil {
			t.Errorf("Parse(%q) is accepted, want %q", raw, want)
		} else if got := err.Error(); got != want {
			t.Errorf("Parse(%q)\n got %s\nwant %s", raw, got, want)
		}
	}
}

func TestSecure(t *testing.T) {
	t.Parallel()
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
		{
			raw:  "postgres://db.internal/shop?sslmode=require",
			want: "sslmode=require does not check that the server is db.internal; use sslmode=verify-full with sslrootcert=PATH or STEM_TLS_CA_CERT",
		},
		{
			raw:  "postgres://localhost,db.internal/shop?sslmode=prefer",
			want: "sslmode=prefer does not check that the server is db.internal; use sslmode=verify-full with sslrootcert=PATH or STEM_TLS_CA_CERT",
		},
		{
			raw:  "postgres://db.internal/shop?sslmode=disable",
			want: "sslmode=disable would send everything to db.internal in the clear; use sslmode=verify-full, or set STEM_TLS_ALLOW_INSECURE=true as well",
		},
		{raw: "postgres://db.internal/shop?sslmode=disable", tls: dsn.TLS{AllowInsecure: true}, want: "sslmode=disable"},
		{
			raw: "postgres://db.internal/shop?sslmode=require", tls: dsn.TLS{AllowInsecure: true},
			want: "sslmode=require does not check that the server is db.internal; use sslmode=verify-full with sslrootcert=PATH or STEM_TLS_CA_CERT",
		},
		{
			raw: "postgres://localhost/shop?sslmode=disable", tls: dsn.TLS{CACert: "/ca.pem"},
			want: "sslmode=disable contradicts STEM_TLS_CA_CERT; remove one, or use sslmode=verify-full",
		},
		{raw: "postgres://h/d", tls: dsn.TLS{CACert: "/nowhere/ca.pem"}, want: "/nowhere/ca.pem: no such file or directory"},
	}
	for _, tt := range tests {
		d, err := dsn.Parse(tt.raw)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.raw, err)
			continue
		}
		d, err = d.Secure(tt.tls)
		if err != nil && err.Error() != tt.want || err == nil && !strings.Contains(d.String(), tt.want) {
			t.Errorf("Secure(%q)\n got %v, %v\nwant %s", tt.raw, d, err, tt.want)
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	d, err := dsn.Parse("postgres://app:s3cret@localhost:5433/shop?sslmode=disable&password=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.String(), "postgres://app:***@localhost:5433/shop?sslmode=disable&password=***"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	for _, s := range []string{fmt.Sprint(d), fmt.Sprintf("%v %+v %#v %s %q", d, d, d, d, d), d.Target().String()} {
		if strings.Contains(s, "s3cret") || strings.Contains(s, "hunter2") {
			t.Errorf("a secret is printed: %s", s)
		}
	}
	if !d.HasPassword() {
		t.Error("HasPassword is false")
	}
	if got, want := d.Target().String(), "localhost:5433, user app, database shop"; got != want {
		t.Errorf("Target = %q, want %q", got, want)
	}
}

func TestSameDatabase(t *testing.T) {
	t.Parallel()
	parse := func(raw string) dsn.DSN {
		d, err := dsn.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := parse("postgres://app:x@localhost/shop")
	if !base.SameDatabase(parse("postgresql://other@localhost:5432/shop?sslmode=disable")) {
		t.Error("one database is taken for two")
	}
	for _, other := range []string{"postgres://localhost/other", "postgres://localhost:5433/shop", "postgres://127.0.0.1/shop"} {
		if base.SameDatabase(parse(other)) {
			t.Errorf("%s is taken for the same database", other)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("postgres://app:pa/ss@host:5432/db?sslmode=verify-full")
	f.Add("postgres://[::1]:5/db?host=/tmp&port=1")
	f.Add("redis://x")
	f.Fuzz(func(t *testing.T, password string) {
		const marker = "Zq9"
		secret := password + marker
		_, err := dsn.Parse("postgres://app:" + secret + "@db.internal/shop")
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%q shows in %v", secret, err)
		}
	})
}
