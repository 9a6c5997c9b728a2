package main

import (
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stemqueue/stem/internal/pgtest"
)

type tlsKey struct{}

// tls gives the script a server of its own, with the login app, whose TLS it changes as often as it likes: the line of
// pg_hba.conf for TCP, then settings, whose files are the script's: tls 'hostssl all app 127.0.0.1/32 scram-sha-256' ssl_cert_file=a.pem.
// $PORT is where it listens, $SUPERUSER a URL over the Unix socket, $PASSWORD that of app.
func tls(ts *testscript.TestScript, neg bool, args []string) {
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok || neg || len(args) == 0 {
		ts.Fatalf("usage: tls HBA [SETTING=VALUE]...")
	}
	servers, ok := ts.Value(tlsKey{}).(map[string]*pgtest.TLSServer)
	if !ok {
		ts.Fatalf("setup makes no place for servers")
	}
	server := servers["tls"]
	if server == nil {
		server = pgtest.NewTLSServer(tb)
		servers["tls"] = server
		password := rand.Text()
		server.Exec(tb, "create role app login password '"+password+"'")
		ts.Setenv("PORT", strconv.Itoa(server.Port))
		ts.Setenv("PASSWORD", password)
		ts.Setenv("SUPERUSER", server.Socket)
		ts.Setenv("STEM_DATABASE_URL", (&url.URL{
			Scheme: "postgres", User: url.UserPassword("app", password), Host: "localhost:" + strconv.Itoa(server.Port), Path: "/postgres",
		}).String())
	}
	settings := map[string]string{"ssl": "on"}
	for _, pair := range args[1:] {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasSuffix(name, "_file") {
			value = ts.MkAbs(value)
		}
		settings[name] = value
	}
	server.Configure(tb, args[0], settings)
}
