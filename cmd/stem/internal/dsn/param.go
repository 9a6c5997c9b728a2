package dsn

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/nearest"
)

// minVersion is libpq's name for the oldest TLS to accept. pgx does not know it.
const minVersion = "ssl_min_protocol_version"

// allowedParams is what a URL may say. "service" and "servicefile" are not here: they would move the connection to a
// place that the checks have not seen. Nor is "sslpassword", because a secret for a key that lies beside it protects
// nothing.
var allowedParams = []string{
	"host", "port", "user", "password", "passfile", "dbname",
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslsni", "sslcertmode", "sslnegotiation", minVersion,
	"channel_binding", "require_auth", "min_protocol_version", "max_protocol_version", "krbspn", "krbsrvname",
	"connect_timeout", "target_session_attrs", "application_name", "options", "search_path", "timezone",
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_encoding",
	"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
	"pool_health_check_period", "pool_max_conn_lifetime_jitter", "pool_ping_timeout",
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",
}

// choices are the values of parameters that have few.
var choices = map[string][]string{
	"sslmode":              {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
	"sslcertmode":          {"disable", "allow", "require"},
	"sslnegotiation":       {"postgres", "direct"},
	minVersion:             {"TLSv1.2", "TLSv1.3"},
	"channel_binding":      {"disable", "prefer", "require"},
	"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
}

// defaults are the parameters that pgx would look for in the environment or in the home directory when the URL has
// none, with what they are instead.
var defaults = map[string]string{
	"host": "", "port": "", "dbname": "", "password": "", "passfile": "",
	"sslmode": "prefer", "sslrootcert": "", "sslcert": "", "sslkey": "", "sslpassword": "", "sslsni": "1",
	"sslcertmode": "allow", "sslnegotiation": "postgres", "channel_binding": "prefer", "require_auth": "",
	"min_protocol_version": "", "max_protocol_version": "", "krbspn": "", "krbsrvname": "",
	"connect_timeout": "10", "target_session_attrs": "any",
}

func parseQuery(query string) (map[string]string, error) {
	params := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err1 := url.PathUnescape(rawKey) // a + is a plus, as for libpq
		value, err2 := url.PathUnescape(rawValue)
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

func checkParam(key, value string) error {
	if key == "sslpassword" {
		return errors.New("sslpassword: " + errEncrypted)
	}
	if !slices.Contains(allowedParams, key) {
		if name, ok := nearest.Name(key, slices.Values(allowedParams)); ok {
			return fmt.Errorf("unknown connection parameter %q. Did you mean %s?", key, name)
		}
		return fmt.Errorf("unknown connection parameter %q", key)
	}
	words, few := choices[key]
	if !few || slices.Contains(words, value) {
		return nil
	}
	if name, ok := nearest.Name(value, slices.Values(words)); ok {
		return fmt.Errorf("%s %q: did you mean %s?", key, value, name)
	}
	return fmt.Errorf("%s %q: want %s", key, value, strings.Join(words, ", "))
}

// with adds parameters to the URL. Of a parameter that is there twice pgx takes the last.
func (d DSN) with(params map[string]string) string {
	text, separator := d.raw, "?"
	if strings.Contains(d.raw, "?") {
		separator = "&"
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		text += separator + key + "=" + strings.ReplaceAll(url.QueryEscape(params[key]), "+", "%20")
		separator = "&"
	}
	return text
}

// whole is the URL with every parameter said: those of the URL, the defaults, and over both the given ones.
func (d DSN) whole(set map[string]string) (string, error) {
	all := maps.Clone(defaults)
	maps.DeleteFunc(all, func(key, _ string) bool {
		_, said := d.params[key]
		return said || key == "host" && d.shape.host || key == "port" && d.shape.port ||
			key == "password" && d.shape.password || key == "dbname" && d.shape.database
	})
	maps.Copy(all, set)
	if d.params["user"] == "" && !d.shape.user {
		me, err := user.Current()
		if err != nil {
			return "", errors.New("the URL names no user")
		}
		all["user"] = me.Username
	}
	return d.with(all), nil
}

// parse makes pgx's settings of the URL and the given parameters, and of nothing else.
func (d DSN) parse(set map[string]string) (*pgx.ConnConfig, error) {
	whole, err := d.whole(set)
	if err != nil {
		return nil, err
	}
	var options pgx.ParseConfigOptions
	options.ConnStringAllowedKeys = append(slices.Clone(allowedParams), "sslpassword") // with which an empty one is said
	cfg, err := pgx.ParseConfigWithOptions(whole, options)
	if err != nil {
		return nil, d.harmless(err)
	}
	d.keepParams(cfg)
	return cfg, nil
}

// keepParams takes out of the session's parameters what the URL does not say (PGOPTIONS, PGTZ, a service file), and what
// is not for the server.
func (d DSN) keepParams(cfg *pgx.ConnConfig) {
	maps.DeleteFunc(cfg.RuntimeParams, func(key, _ string) bool {
		_, said := d.params[key]
		return !said || key == minVersion || strings.HasPrefix(key, "pool_")
	})
}

// harmless is what may be repeated of an error of pgx, which contains the URL.
func (d DSN) harmless(err error) error {
	if service := os.Getenv("PGSERVICE"); service != "" && strings.Contains(err.Error(), "failed to read service") {
		return fmt.Errorf("PGSERVICE names the service %q, which pgx cannot read; Stem does not use services: unset PGSERVICE", service)
	}
	inner := errors.Unwrap(err)
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); !ok || inner == nil || pe.ConnString == "" || d.HasPassword() {
		return errors.New("could not read the URL; compare it with " + example)
	}
	return inner
}
