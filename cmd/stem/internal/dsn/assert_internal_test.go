package dsn

import (
	"crypto/tls"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Secure leaves nothing for assert to find; this is what a change of it, or of pgx, would run into.
func TestAssertFindsTheEntryThatIsNotVerified(t *testing.T) {
	t.Parallel()
	good := func() *tls.Config { return &tls.Config{ServerName: "db.internal", MinVersion: tls.VersionTLS12} }
	reporting := func(tls.ConnectionState) error { return nil }
	tests := map[string]struct {
		change   func(*tls.Config) *tls.Config
		security security
		ok       bool
	}{
		"good":                      {func(c *tls.Config) *tls.Config { return c }, security{mode: verifyFull}, true},
		"plain":                     {func(*tls.Config) *tls.Config { return nil }, security{mode: verifyFull}, false},
		"another name":              {func(c *tls.Config) *tls.Config { c.ServerName = "other"; return c }, security{mode: verifyFull}, false},
		"old":                       {func(c *tls.Config) *tls.Config { c.MinVersion = tls.VersionTLS11; return c }, security{mode: verifyFull}, false},
		"unset":                     {func(c *tls.Config) *tls.Config { c.MinVersion = 0; return c }, security{mode: verifyFull}, false},
		"skipped":                   {func(c *tls.Config) *tls.Config { c.InsecureSkipVerify = true; return c }, security{mode: verifyFull}, false},
		"skipped without a report":  {func(c *tls.Config) *tls.Config { c.InsecureSkipVerify = true; return c }, security{mode: verifyFull, insecure: true}, false},
		"skipped, and not insecure": {func(c *tls.Config) *tls.Config { c.InsecureSkipVerify, c.VerifyConnection = true, reporting; return c }, security{mode: verifyFull}, false},
		"reported":                  {func(c *tls.Config) *tls.Config { c.InsecureSkipVerify, c.VerifyConnection = true, reporting; return c }, security{mode: verifyFull, insecure: true}, true},
		"plain in insecure mode":    {func(*tls.Config) *tls.Config { return nil }, security{mode: verifyFull, insecure: true}, false},
	}
	for name, tt := range tests {
		for _, fallback := range []bool{false, true} {
			c := &pgx.ConnConfig{Config: pgconn.Config{Host: "db.internal", TLSConfig: tt.change(good())}}
			if fallback {
				c.TLSConfig = good()
				c.Fallbacks = []*pgconn.FallbackConfig{{Host: "/run/postgresql"}, {Host: "db.internal", TLSConfig: tt.change(good())}}
			}
			if err := assert(c, tt.security); (err == nil) != tt.ok {
				t.Errorf("%s, fallback %v: %v", name, fallback, err)
			}
		}
	}
	plain := &pgx.ConnConfig{Config: pgconn.Config{Host: "localhost"}}
	if err := assert(plain, security{mode: "prefer"}); err != nil {
		t.Errorf("loopback may be plain: %v", err)
	}
	if err := assert(plain, security{mode: verifyFull}); err == nil {
		t.Error("loopback is not verified although it was asked for")
	}
}
