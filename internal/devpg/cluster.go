package devpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const superuser = "postgres"

// cluster is a data directory and what it takes to run a server on it.
type cluster struct {
	home    *home
	account account
	getenv  func(string) string
	bin     string
	data    string
	log     string
}

// startCluster makes a private cluster and starts it.
func startCluster(ctx context.Context, config Config, a account, rung string, found binaries) (*Server, error) {
	h, err := newHome(config.Dir, a)
	if err != nil {
		return nil, err
	}
	c := &cluster{home: h, account: a, getenv: config.Getenv, bin: found.dir, log: filepath.Join(h.path, "log")}
	s := &Server{
		Rung: rung, Version: found.version, Major: found.major,
		BinDir: found.dir, Dir: h.path, LogFile: c.log, cluster: c,
	}
	if err := s.create(ctx, config); err != nil {
		return nil, errors.Join(fmt.Errorf("start Postgres %s of %s: %w", found.version, found.dir, err), h.remove())
	}
	return s, nil
}

// create fills the home and starts the server on a free port.
func (s *Server) create(ctx context.Context, config Config) error {
	c := s.cluster
	password := rand.Text()
	if err := c.initialize(ctx, password, config.Durable); err != nil {
		return err
	}
	tls, err := c.home.certificates(c.account)
	if err != nil {
		return err
	}
	if err := c.configure(tls, config); err != nil {
		return err
	}
	s.CACert = tls.Authority
	// Between finding a free port and listening on it another process may take it.
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		s.address = &url.URL{
			Scheme: "postgres", User: url.UserPassword(superuser, password),
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), Path: "/postgres",
			RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CACert}}.Encode(),
		}
		s.URL = s.address.String()
		if err = s.launch(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// initialize makes the data directory. The C locale is the one that every system and every version has.
func (c *cluster) initialize(ctx context.Context, password string, durable bool) error {
	var err error
	if c.data, err = c.home.dir("data", c.account); err != nil {
		return err
	}
	passwordFile, err := c.home.file("secret", c.account, password)
	if err != nil {
		return err
	}
	args := []string{
		"-D", c.data, "-U", superuser, "-A", "scram-sha-256", "--pwfile", passwordFile,
		"-E", "UTF8", "--locale=C", "--no-instructions", "--no-sync",
	}
	if !durable {
		args = append(args, "--wal-segsize=1") // 15 MB less to write at each start
	}
	if _, err := run(ctx, c.account.command(c.getenv, filepath.Join(c.bin, "initdb"), args...)); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	return os.Remove(passwordFile)
}

// configure writes the settings and who may connect: nobody without a password, and over TCP nobody without TLS.
func (c *cluster) configure(tls Certificates, config Config) error {
	sockets, err := c.home.dir("s", c.account)
	if err != nil {
		return err
	}
	settings := map[string]string{ //nolint:gosec // G101 takes a setting's name for a password
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": sockets,
		"ssl":                     "on",
		"ssl_cert_file":           tls.Certificate,
		"ssl_key_file":            tls.Key,
		"password_encryption":     "scram-sha-256",
		"log_line_prefix":         "%m [%p] %u@%d ",
		"log_lock_waits":          "on",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
	}
	if !config.Durable {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
		settings["max_wal_size"] = "256MB" // with segments of 1 MB the default is 64 MB: a checkpoint every moment
	}
	maps.Copy(settings, config.Settings)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		quoted := strings.NewReplacer("'", "''", `\`, `\\`).Replace(settings[key])
		fmt.Fprintf(&text, "%s = '%s'\n", key, quoted)
	}
	conf, err := os.OpenFile(filepath.Join(c.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(text.String())
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.data, "pg_hba.conf"), []byte(
		"local   all         all              scram-sha-256\n"+
			"hostssl all         all 127.0.0.1/32 scram-sha-256\n"+
			"local   replication all              scram-sha-256\n"+
			"hostssl replication all 127.0.0.1/32 scram-sha-256\n"), 0o600)
}

// launch starts the postmaster and returns when it accepts connections.
func (s *Server) launch(ctx context.Context) error {
	c := s.cluster
	p, err := launch(ctx, launching{
		cmd: c.account.command(c.getenv, filepath.Join(c.bin, "postgres"), "-D", c.data, "-p", strconv.Itoa(s.Port)),
		log: c.log, url: s.URL,
		// Nobody is left to want the data, so the server need not write it: immediate shutdown.
		onDeath: syscall.SIGQUIT,
		started: c.home.note,
	})
	if err == nil {
		s.process = p
	}
	return err
}
