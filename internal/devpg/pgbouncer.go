package devpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// StartPgBouncer starts the program pgbouncer on a loopback port, in transaction mode, in front of the server that
// address leads to, and returns the same URL through the pooler and how to stop it. Both sides use verified TLS as far
// as address does. Only the user of address gets in, to any database of the server. It ends with this process; ctx
// bounds the start only.
func StartPgBouncer(ctx context.Context, program, address string) (pooled string, stop func(), err error) {
	a, err := serverAccount()
	if err != nil {
		return "", nil, fmt.Errorf("devpg: pgbouncer: %w", err)
	}
	h, err := newHome("", a)
	if err != nil {
		return "", nil, fmt.Errorf("devpg: pgbouncer: %w", err)
	}
	for range 5 { // as with a cluster, the port may be taken meanwhile
		pooled, stop, err = startPooler(ctx, h, a, program, address)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("devpg: pgbouncer: %w", err), h.remove())
	}
	return pooled, stop, nil
}

func startPooler(ctx context.Context, h *home, a account, program, address string) (string, func(), error) {
	behind, err := url.Parse(address)
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	tls, err := h.certificates(a)
	if err != nil {
		return "", nil, err
	}
	config, err := configurePooler(h, a, tls, behind, port)
	if err != nil {
		return "", nil, err
	}
	front := *behind
	front.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	query := front.Query()
	query.Set("sslmode", "verify-full")
	query.Set("sslrootcert", tls.Authority)
	front.RawQuery = query.Encode()

	p, err := launch(ctx, launching{
		cmd: a.command(func(string) string { return "" }, program, "-q", config),
		log: filepath.Join(h.path, "log"), url: front.String(), onDeath: syscall.SIGTERM,
	})
	if err != nil {
		return "", nil, err
	}
	stop := func() {
		p.endSoon(syscall.SIGTERM) // which does not wait for clients
		_ = h.remove()             // what stays goes with the next sweep
	}
	return front.String(), stop, nil
}

// configurePooler writes PgBouncer's files and returns the path of the main one.
func configurePooler(h *home, a account, tls Certificates, behind *url.URL, port int) (string, error) {
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	password, _ := behind.User.Password()
	users, err := h.file("users", a, quoted(behind.User.Username())+" "+quoted(password)+"\n")
	if err != nil {
		return "", err
	}
	query := behind.Query()
	return h.file("pgbouncer.ini", a, fmt.Sprintf(`[databases]
* = host=%s port=%s

[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
client_tls_sslmode = require
client_tls_cert_file = %s
client_tls_key_file = %s
server_tls_sslmode = %s
server_tls_ca_file = %s
ignore_startup_parameters = extra_float_digits
max_client_conn = 500
default_pool_size = 50
`, behind.Hostname(), cmp.Or(behind.Port(), "5432"), port, users, tls.Certificate, tls.Key,
		cmp.Or(query.Get("sslmode"), "prefer"), query.Get("sslrootcert")))
}
