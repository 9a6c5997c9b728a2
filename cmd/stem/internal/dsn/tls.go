package dsn

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// TLS is what the settings say about encryption.
type TLS struct {
	AllowInsecure bool   // STEM_TLS_ALLOW_INSECURE
	CACert        string // STEM_TLS_CA_CERT and so on: paths of PEM files
	ClientCert    string
	ClientKey     string
}

// Secure returns d with an explicit sslmode and the files of t, or an error when a server that is not on this machine
// would be talked to without knowing who it is. Loopback addresses and Unix sockets may be plain.
func (d DSN) Secure(t TLS) (DSN, error) {
	extra, err := d.tlsParams(t)
	if err != nil {
		return DSN{}, err
	}
	mode := d.params["sslmode"]
	remote := firstRemote(d.conn)
	switch {
	case mode == "" && (remote != "" || t.CACert != ""):
		extra.Set("sslmode", "verify-full")
	case mode == "":
		extra.Set("sslmode", "prefer") // said aloud, so that PGSSLMODE does not decide
	case t.CACert != "" && mode != "verify-full":
		return DSN{}, fmt.Errorf("sslmode=%s contradicts STEM_TLS_CA_CERT; remove one, or use sslmode=verify-full", mode)
	case remote != "" && mode == "disable" && !t.AllowInsecure:
		return DSN{}, fmt.Errorf("sslmode=disable would send everything to %s in the clear; use sslmode=verify-full, "+
			"or set STEM_TLS_ALLOW_INSECURE=true as well", remote)
	case remote != "" && mode != "disable" && mode != "verify-full":
		return DSN{}, fmt.Errorf("sslmode=%s does not check that the server is %s; use sslmode=verify-full "+
			"with sslrootcert=PATH or STEM_TLS_CA_CERT", mode, remote)
	}
	secured := DSN{raw: d.with(extra.Encode()), params: d.params}
	if secured.conn, err = secured.parse(""); err != nil {
		return DSN{}, err
	}
	if remote != "" && mode != "disable" {
		return secured, assertVerified(secured.conn)
	}
	return secured, nil
}

// tlsParams are the files of t as parameters of the URL, which must not name others.
func (d DSN) tlsParams(t TLS) (url.Values, error) {
	extra := url.Values{}
	for _, f := range []struct{ param, env, path string }{
		{"sslrootcert", "STEM_TLS_CA_CERT", t.CACert},
		{"sslcert", "STEM_TLS_CLIENT_CERT", t.ClientCert},
		{"sslkey", "STEM_TLS_CLIENT_KEY", t.ClientKey},
	} {
		inURL, given := d.params[f.param]
		switch {
		case f.path == "":
		case given && inURL != f.path:
			return nil, fmt.Errorf("%s in the URL and %s name different files; set only one", f.param, f.env)
		case !given:
			extra.Set(f.param, f.path)
		}
	}
	return extra, nil
}

// firstRemote is the first host that is neither a socket nor a loopback address, or "".
func firstRemote(c *pgconn.Config) string {
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, h := range hosts {
		if !local(h) {
			return h
		}
	}
	return ""
}

func local(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// assertVerified looks at what pgx made of the URL: every way to reach a remote host must check its certificate.
func assertVerified(c *pgconn.Config) error {
	check := func(host string, t *tls.Config) error {
		if !local(host) && (t == nil || t.InsecureSkipVerify || t.ServerName == "") {
			return fmt.Errorf("the certificate of %s would not be verified; use sslmode=verify-full", host)
		}
		return nil
	}
	if err := check(c.Host, c.TLSConfig); err != nil {
		return err
	}
	for _, f := range c.Fallbacks {
		if err := check(f.Host, f.TLSConfig); err != nil {
			return err
		}
	}
	return nil
}

func requireTLS12(first *tls.Config, fallbacks []*pgconn.FallbackConfig) {
	all := []*tls.Config{first}
	for _, f := range fallbacks {
		all = append(all, f.TLSConfig)
	}
	for _, t := range all {
		if t != nil {
			t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
		}
	}
}
