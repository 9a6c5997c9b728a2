package pgtest

import (
	"context"
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
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/devpg"
)

// TLSServer is a private cluster whose TLS and rules of access a test changes while it runs.
type TLSServer struct {
	*devpg.Server
	Socket string // the superuser's URL over the Unix socket, which no change of TLS cuts off

	uid, gid int // of the server's user
	files    int
}

// NewTLSServer starts a private cluster.
func NewTLSServer(tb testing.TB) *TLSServer {
	tb.Helper()
	s := &TLSServer{Server: Private(tb, devpg.Config{})}
	info, err := os.Stat(s.data())
	if err != nil {
		tb.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = int(stat.Uid), int(stat.Gid)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = ""
	u.RawQuery = url.Values{"host": {filepath.Join(s.Dir, "s")}, "port": {strconv.Itoa(s.Port)}}.Encode()
	s.Socket = u.String()
	return s
}

func (s *TLSServer) data() string { return filepath.Join(s.Dir, "data") }

// Exec runs statements as the superuser, over the Unix socket.
func (s *TLSServer) Exec(tb testing.TB, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := do(ctx, s.Socket, statements...); err != nil {
		tb.Fatal(err)
	}
}

// Address is the URL of a login on the cluster: localhost, or another name that leads there.
func (s *TLSServer) Address(host, user, password string, params ...string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: net.JoinHostPort(host, strconv.Itoa(s.Port)), Path: "/postgres"}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	u.RawQuery = strings.Join(params, "&")
	return u.String()
}

// Configure replaces the lines of pg_hba.conf for TCP and changes settings, and returns when both are in force. A value
// of "" resets a setting; a file that is named (ssl_ca_file and so on) is copied to where the server can read it.
func (s *TLSServer) Configure(tb testing.TB, hba string, settings map[string]string) {
	tb.Helper()
	rules := "local all postgres scram-sha-256\n" + hba + "\n"
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		tb.Fatal(err)
	}
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if strings.HasSuffix(name, "_file") && value != "" {
			value = s.give(tb, value)
		}
		change := fmt.Sprintf("alter system set %s = '%s'", name, value)
		if value == "" {
			change = "alter system reset " + name
		}
		changes = append(changes, change)
	}
	// Every server process knows when the settings that it began with were read.
	before := s.loaded(tb)
	s.Exec(tb, append(changes, "select pg_reload_conf()")...)
	for deadline := time.Now().Add(patience); s.loaded(tb) == before; <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("pgtest: the server does not read its settings again")
		}
	}
}

func (s *TLSServer) loaded(tb testing.TB) (at string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Socket)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, "select pg_conf_load_time()::text").Scan(&at); err != nil {
		tb.Fatal(err)
	}
	return at
}

// give copies a file to one that is the server's alone.
func (s *TLSServer) give(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	s.files++
	own := filepath.Join(s.Dir, fmt.Sprintf("%d.pem", s.files))
	if err := os.WriteFile(own, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(own, s.uid, s.gid); err != nil {
			tb.Fatal(err)
		}
	}
	return own
}
