// Package dsn checks the URL of a Postgres database before anything is dialled, and never prints its secret.
//
// pgx forwards parameters it does not know to the server, takes an unset sslmode for "TLS if the server feels like it",
// and reads further settings from the environment. Here unknown parameters are mistakes, and sslmode is always explicit.
package dsn

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

const example = "postgres://user@host/db?sslmode=verify-full"

// errEncode stands for every way in which an unencoded password breaks a URL. It cannot say more without quoting it.
var errEncode = errors.New("could not read the port; if the password contains / @ : # % encode it (/ = %2F)")

// DSN is a checked URL. Make one with [Parse]; the zero value names no database.
type DSN struct {
	raw    string
	params map[string]string
	conn   *pgconn.Config
}

// Parse checks raw. Its errors quote names of parameters and modes, never a value that could be secret.
func Parse(raw string) (DSN, error) {
	raw = strings.TrimSpace(raw)
	if err := checkShape(raw); err != nil {
		return DSN{}, err
	}
	_, query, _ := strings.Cut(raw, "?")
	params, err := parseQuery(query)
	if err != nil {
		return DSN{}, err
	}
	d := DSN{raw: raw, params: params}
	if d.conn, err = d.parse(""); err != nil {
		return DSN{}, err
	}
	return d, nil
}

// checkShape finds what would make a parser see a password as something else.
func checkShape(raw string) error {
	scheme, rest, found := strings.Cut(raw, "://")
	switch {
	case !found || !isWord(scheme, ".+-0123456789"):
		return errors.New("want a URL such as " + example)
	case scheme != "postgres" && scheme != "postgresql":
		return fmt.Errorf("Stem uses Postgres only; got scheme %q. Example: %s", scheme, example) //nolint:staticcheck // a name
	case strings.ContainsAny(rest, "#\x00"):
		return errEncode
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority = rest[:i]
	}
	path, _, _ := strings.Cut(rest[len(authority):], "?")
	if strings.Count(rest, "@") != strings.Count(authority, "@") || strings.Count(authority, "@") > 1 {
		return errEncode // an @ elsewhere is taken for the tail of a password, which must not be quoted as a parameter
	}
	user, hosts, found := strings.Cut(authority, "@")
	if !found {
		user, hosts = "", authority
	}
	for _, part := range []string{user, path} {
		if _, err := url.PathUnescape(part); err != nil {
			return errEncode
		}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		port := host[strings.LastIndexByte(host, ']')+1:] // after an IPv6 address
		if _, port, found = strings.Cut(port, ":"); !found || port == "" {
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errEncode
		}
	}
	return nil
}

func parseQuery(query string) (map[string]string, error) {
	params := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(rawKey)
		value, err2 := url.QueryUnescape(rawValue)
		if err1 != nil || err2 != nil || !isWord(key, "0123456789") {
			return nil, errEncode
		}
		if err := checkParam(key, value); err != nil {
			return nil, err
		}
		if _, twice := params[key]; twice {
			return nil, fmt.Errorf("connection parameter %q is given twice", key)
		}
		params[key] = value
	}
	return params, nil
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

func checkParam(key, value string) error {
	if !slices.Contains(allowedParams, key) {
		if name, ok := nearest.Name(key, slices.Values(allowedParams)); ok {
			return fmt.Errorf("unknown connection parameter %q. Did you mean %s?", key, name)
		}
		return fmt.Errorf("unknown connection parameter %q", key)
	}
	if key == "sslmode" && !slices.Contains(sslModes, value) {
		if name, ok := nearest.Name(value, slices.Values(sslModes)); ok {
			return fmt.Errorf("sslmode %q: did you mean %s?", value, name)
		}
		return fmt.Errorf("sslmode %q: want %s", value, strings.Join(sslModes, ", "))
	}
	return nil
}

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// allowedParams is what a URL may say. "service" and "servicefile" are not here: they would move the connection to a
// place that the checks have not seen.
var allowedParams = []string{
	"host", "port", "user", "password", "passfile", "dbname",
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni", "sslcertmode", "sslnegotiation",
	"channel_binding", "require_auth", "min_protocol_version", "max_protocol_version", "krbspn", "krbsrvname",
	"connect_timeout", "target_session_attrs", "application_name", "options", "search_path", "timezone",
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_encoding",
	"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
	"pool_health_check_period", "pool_max_conn_lifetime_jitter", "pool_ping_timeout",
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",
}

// parse hands the URL to pgx, with an explicit sslmode when the URL has none.
func (d DSN) parse(extra string) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfigWithOptions(d.with(extra), pgconn.ParseConfigOptions{ConnStringAllowedKeys: allowedParams})
	if err != nil {
		return nil, d.harmless(err)
	}
	return cfg, nil
}

func (d DSN) with(extra string) string {
	switch {
	case extra == "":
		return d.raw
	case strings.Contains(d.raw, "?"):
		return d.raw + "&" + extra
	}
	return d.raw + "?" + extra
}

// harmless is what may be repeated of an error of pgx, which contains the URL.
func (d DSN) harmless(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", file.Path, file.Err)
	}
	inner := errors.Unwrap(err)
	if inner == nil || d.HasPassword() {
		return errors.New("could not read the URL; compare it with " + example)
	}
	return inner
}

// HasPassword tells whether the URL itself holds a secret.
func (d DSN) HasPassword() bool {
	_, rest, _ := strings.Cut(d.raw, "://")
	user, _, found := strings.Cut(rest, "@")
	return found && strings.Contains(user, ":") || d.params["password"] != "" || d.params["sslpassword"] != ""
}

// Given tells whether d names a database.
func (d DSN) Given() bool { return d.raw != "" }

// String is the URL without secrets.
func (d DSN) String() string {
	if !d.Given() {
		return ""
	}
	scheme, rest, _ := strings.Cut(d.raw, "://")
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
		if key, _, _ := strings.Cut(pair, "="); key == "password" || key == "sslpassword" {
			pairs[i] = key + "=***"
		}
	}
	return scheme + "://" + base + "?" + strings.Join(pairs, "&")
}

// GoString keeps the secret out of %#v.
func (d DSN) GoString() string { return strconv.Quote(d.String()) }

// Target names the database in messages.
func (d DSN) Target() fault.Target {
	if d.conn == nil {
		return fault.Target{}
	}
	return fault.Target{Address: address(d.conn.Host, d.conn.Port), User: d.conn.User, Database: d.conn.Database}
}

func address(host string, port uint16) string {
	if strings.HasPrefix(host, "/") {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// SameDatabase tells whether both name one database of one server. The user and the parameters may differ.
func (d DSN) SameDatabase(o DSN) bool {
	return d.conn.Host == o.conn.Host && d.conn.Port == o.conn.Port && d.conn.Database == o.conn.Database
}

// Pool returns the settings of a pool. The rules of TLS must have been applied by [DSN.Secure].
func (d DSN) Pool() (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(d.raw)
	if err != nil {
		return nil, d.harmless(err)
	}
	requireTLS12(cfg.ConnConfig.TLSConfig, cfg.ConnConfig.Fallbacks)
	return cfg, nil
}
