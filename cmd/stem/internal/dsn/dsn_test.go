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
		"postgres://app:s3/cret@db.internal/shop":         encode,
		"postgres://app:s3@cret@db.internal/shop":         encode,
		"postgres://app:s3#cret@db.internal/shop":         encode,
		"postgres://app:s3%cret@db.internal/shop":         encode,
		"postgres://app:s3?cret=1@db.internal/shop":       encode,
		"postgres://app:s3?cret@db.internal/shop":         encode,
		"postgres://app:s3cret@db.internal:x/shop":        encode,
		"postgres://app:s3cret@db.internal:99999/shop":    encode,
		"postgres://db.internal/shop?sslmode=verify_full": `sslmode "verify_full": did you mean verify-full?`,
		"postgres://db.internal/shop?sslmode=zzz":         `sslmode "zzz": want disable, allow, prefer, require, verify-ca, verify-full`,
		"postgres://db.internal/shop?sslrotcert=/ca":      `unknown connection parameter "sslrotcert". Did you mean sslrootcert?`,
		"postgres://db.internal/shop?servicefile=/x":      `unknown connection parameter "servicefile"`,
		"postgres://h/d?sslmode=disable&sslmode=require":  `connection parameter "sslmode" is given twice`,
		"postgres://h/d?channel_binding=requires":         `channel_binding "requires": did you mean require?`,
		"postgres://h/d?sslnegotiation=x":                 `sslnegotiation "x": want postgres, direct`,
		"postgres://h/d?ssl_min_protocol_version=1":       `ssl_min_protocol_version "1": want TLSv1.2, TLSv1.3`,
		"postgres://h/d?sslpassword=s3cret":               "sslpassword: encrypted keys are not supported; decrypt it and protect it with LoadCredential",
		"postgres://h/d?require_auth=x":                   `invalid require_auth method: "x"`,
	} {
		_, err := dsn.Parse(raw)
		if err == nil {
			t.Errorf("Parse(%q) is accepted, want %q", raw, want)
		} else if got := err.Error(); got != want {
			t.Errorf("Parse(%q)\n got %s\nwant %s", raw, got, want)
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
	if err := errorOf(dsn.Parse("postgres://app:s3cret@localhost:5433/shop?require_auth=x")); strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a secret is printed: %s", err)
	}
	if got, want := d.Target().String(), "localhost:5433, user app, database shop"; got != want {
		t.Errorf("Target = %q, want %q", got, want)
	}
}

func errorOf(_ dsn.DSN, err error) error { return err }

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
