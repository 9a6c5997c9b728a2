package dsn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"iter"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// entry is one way to reach a server: pgx tries the main one and then its fallbacks.
type entry struct {
	host string
	port uint16
	tls  **tls.Config
}

func entries(c *pgx.ConnConfig) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		if !yield(entry{c.Host, c.Port, &c.TLSConfig}) {
			return
		}
		for _, f := range c.Fallbacks {
			if !yield(entry{f.Host, f.Port, &f.TLSConfig}) {
				return
			}
		}
	}
}

func local(host string) bool {
	if isSocket(host) || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// harden gives every entry the oldest TLS that is accepted and the certificates as they were last read; in insecure mode
// it swaps the verification for one that only reports, to unverified.
func (d DSN) harden(c *pgx.ConnConfig, unverified func(host string, err error)) {
	oldest := uint16(tls.VersionTLS12)
	if d.params[minVersion] == "TLSv1.3" {
		oldest = tls.VersionTLS13
	}
	for e := range entries(c) {
		if *e.tls == nil {
			continue
		}
		t := (*e.tls).Clone()
		t.MinVersion = oldest
		if m := d.sec.material; m != nil {
			m.give(t)
		}
		roots := t.RootCAs
		switch {
		case d.sec.insecure:
			t.InsecureSkipVerify = true // that is the mode, and assert counts on what follows
			t.VerifyPeerCertificate = nil
			t.VerifyConnection = reporting(e.host, roots, unverified)
		case t.VerifyPeerCertificate != nil: // sslmode=verify-ca; pgx's own holds on to the first roots
			t.VerifyPeerCertificate = nil
			t.VerifyConnection = func(state tls.ConnectionState) error { return Verify(state, "", roots) }
		}
		*e.tls = t
	}
}

// reporting verifies as verify-full would, tells what it found, and lets the connection be.
func reporting(host string, roots *x509.CertPool, unverified func(string, error)) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if err := Verify(state, host, roots); err != nil && unverified != nil {
			unverified(host, err)
		}
		return nil
	}
}

// Verify does what sslmode=verify-full does with a connection, or verify-ca when there is no host. Nil roots are the
// system's.
func Verify(state tls.ConnectionState, host string, roots *x509.CertPool) error {
	options := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

// Negotiate finds out, where STEM_TLS_NEGOTIATION is auto, whether the server begins with TLS at once (17 and later do),
// and returns d with that decided.
func (d DSN) Negotiate(ctx context.Context) DSN {
	if !d.sec.auto {
		return d
	}
	d.sec.auto = false
	for e := range entries(d.conn) {
		if *e.tls == nil || !d.direct(ctx, e) {
			return d
		}
	}
	s := d.sec
	s.set = maps.Clone(s.set)
	s.set["sslnegotiation"] = direct
	if decided, err := d.secured(s); err == nil {
		return decided
	}
	return d
}

func (d DSN) direct(ctx context.Context, e entry) bool {
	ctx, cancel := context.WithTimeout(ctx, d.conn.ConnectTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address(e.host, e.port))
	if err != nil {
		return false
	}
	defer raw.Close() //nolint:errcheck // nothing was sent
	t := (*e.tls).Clone()
	t.NextProtos = []string{"postgresql"}
	conn := tls.Client(raw, t)
	return conn.HandshakeContext(ctx) == nil && conn.ConnectionState().NegotiatedProtocol == "postgresql"
}

// Way is one server on the network that a DSN leads to.
type Way struct {
	Host        string
	Port        uint16
	Negotiation string      // postgres or direct
	TLS         *tls.Config // as verify-full would have it, also where the URL asks for less
}

// Address is what is dialled.
func (w Way) Address() string { return address(w.Host, w.Port) }

// Ways lists the servers on the network, each once; Unix sockets are none.
func (d DSN) Ways() []Way {
	var list []Way
	for e := range entries(d.conn) {
		known := slices.ContainsFunc(list, func(w Way) bool { return w.Host == e.host && w.Port == e.port })
		if known || isSocket(e.host) {
			continue
		}
		w := Way{Host: e.host, Port: e.port, Negotiation: d.conn.SSLNegotiation, TLS: &tls.Config{ServerName: e.host, MinVersion: tls.VersionTLS12}}
		if d.conn.SSLNegotiation == direct {
			w.TLS.NextProtos = []string{"postgresql"}
		}
		if m := d.sec.material; m != nil {
			m.give(w.TLS)
		}
		list = append(list, w)
	}
	return list
}

// ClientCertificate is the setting that names the client's certificate, and when that expires; "" is none.
func (d DSN) ClientCertificate() (source string, until time.Time) {
	if m := d.sec.material; m != nil && m.pair != nil {
		return d.sec.files.cert.Source, m.pair.Leaf.NotAfter
	}
	return "", time.Time{}
}
