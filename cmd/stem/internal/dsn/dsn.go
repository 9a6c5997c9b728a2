// Package dsn checks the URL of a Postgres database before anything is dialled, and never prints its secret.
//
// pgx forwards parameters it does not know to the server, takes an unset sslmode for "TLS if the server feels like it",
// and reads further settings from the environment and the home directory. Here unknown parameters are mistakes, the
// URL and the STEM_TLS_ variables are all there is, and every way to a server on the network verifies its certificate.
package dsn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

const example = "postgres://user@host/db?sslmode=verify-full"

// errEncode stands for every way in which an unencoded password breaks a URL. It cannot say more without quoting it.
var errEncode = errors.New("could not read the port; if the password contains / @ : # % encode it (/ = %2F)")

// DSN is a checked URL. Make one with [Parse] and give it the rules of TLS with [DSN.Secure]; the zero value names no
// database.
type DSN struct {
	raw    string
	shape  shape
	params map[string]string
	conn   *pgx.ConnConfig
	sec    security // what Secure decided
}

// Parse checks raw. Its errors quote names of parameters and modes, never a value that could be secret.
func Parse(raw string) (DSN, error) {
	raw = strings.TrimSpace(raw)
	s, err := checkShape(raw)
	if err != nil {
		return DSN{}, err
	}
	_, query, _ := strings.Cut(raw, "?")
	params, err := parseQuery(query)
	if err != nil {
		return DSN{}, err
	}
	d := DSN{raw: raw, shape: s, params: params}
	// Who is named, not how to get there: no file is read yet.
	if d.conn, err = d.parse(map[string]string{"sslmode": "disable", "sslrootcert": "", "sslcert": "", "sslkey": ""}); err != nil {
		return DSN{}, err
	}
	return d, nil
}

// shape is which parts of a URL stand before its path.
type shape struct{ user, password, host, port, database bool }

// checkShape finds what would make a parser see a password as something else.
func checkShape(raw string) (shape, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	switch {
	case !found || !isWord(scheme, ".+-0123456789"):
		return shape{}, errors.New("want a URL such as " + example)
	case scheme != "postgres" && scheme != "postgresql":
		return shape{}, fmt.Errorf("Stem uses Postgres only; got scheme %q. Example: %s", scheme, example) //nolint:staticcheck // a name
	case strings.ContainsAny(rest, "#\x00"):
		return shape{}, errEncode
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority = rest[:i]
	}
	path, _, _ := strings.Cut(rest[len(authority):], "?")
	if strings.Count(rest, "@") != strings.Count(authority, "@") || strings.Count(authority, "@") > 1 {
		return shape{}, errEncode // an @ elsewhere is taken for the tail of a password, which must not be quoted as a parameter
	}
	user, hosts, found := strings.Cut(authority, "@")
	if !found {
		user, hosts = "", authority
	}
	for _, part := range []string{user, path} {
		if _, err := url.PathUnescape(part); err != nil {
			return shape{}, errEncode
		}
	}
	name, password, _ := strings.Cut(user, ":")
	s := shape{user: name != "", password: password != "", host: hosts != "", database: len(path) > 1, port: strings.Contains(hosts, ",")}
	for host := range strings.SplitSeq(hosts, ",") {
		port := host[strings.LastIndexByte(host, ']')+1:] // after an IPv6 address
		if _, port, found = strings.Cut(port, ":"); !found || port == "" {
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return shape{}, errEncode
		}
		s.port = true
	}
	return s, nil
}

// isWord tells whether s is of letters, the underscore and others, beginning with a letter.
func isWord(s, others string) bool {
	letter := func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }
	for i, r := range s {
		if !letter(r) && (i == 0 || r != '_' && !strings.ContainsRune(others, r)) {
			return false
		}
	}
	return s != ""
}

// HasPassword tells whether the URL itself holds a secret.
func (d DSN) HasPassword() bool { return d.shape.password || d.params["password"] != "" }

// Given tells whether d names a database.
func (d DSN) Given() bool { return d.raw != "" }

// String is the URL without secrets.
func (d DSN) String() string {
	if !d.Given() {
		return ""
	}
	scheme, rest, _ := strings.Cut(d.with(d.sec.shown), "://")
	if user, tail, found := strings.Cut(rest, "@"); found {
		name, _, _ := strings.Cut(user, ":")
		if name != user {
			name += ":***"
		}
		rest = name + "@" + tail
	}
	base, query, found := strings.Cut(rest, "?")
	if !found {
		return scheme + "://" + rest
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if key, _, _ := strings.Cut(pair, "="); key == "password" {
			pairs[i] = key + "=***"
		}
	}
	return scheme + "://" + base + "?" + strings.Join(pairs, "&")
}

// URL is the URL with everything said that pgx would look for elsewhere, secrets included. It is for programs.
func (d DSN) URL() string {
	if d.conn == nil {
		return ""
	}
	return d.conn.ConnString()
}

// GoString keeps the secret out of %#v.
func (d DSN) GoString() string { return strconv.Quote(d.String()) }

// Target names the database in messages.
func (d DSN) Target() fault.Target {
	if d.conn == nil {
		return fault.Target{}
	}
	t := fault.Target{
		Address: address(d.conn.Host, d.conn.Port), User: d.conn.User, Database: d.conn.Database,
		Timeout: d.conn.ConnectTimeout, Passwordless: d.conn.Password == "",
		TLS: d.sec.advice(),
	}
	if t.Database == "" {
		t.Database = t.User // as the server does
	}
	return t
}

func address(host string, port uint16) string {
	if isSocket(host) {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func isSocket(host string) bool {
	network, _ := pgconn.NetworkAddress(host, 0)
	return network == "unix"
}

// SameDatabase tells whether both name one database of one server. The user and the parameters may differ.
func (d DSN) SameDatabase(o DSN) bool {
	return d.conn.Host == o.conn.Host && d.conn.Port == o.conn.Port && d.conn.Database == o.conn.Database
}
