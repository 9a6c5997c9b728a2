package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
)

// Session describes how a connection is secured.
type Session struct {
	Protocol string // "TLS 1.3", or "" without TLS
	Cipher   string
	Leaf     *x509.Certificate // the server's
	Socket   bool
}

// Secured looks at a connection of pgx.
func Secured(conn *pgx.Conn) Session {
	raw := conn.PgConn().Conn()
	if encrypted, ok := raw.(*tls.Conn); ok {
		state := encrypted.ConnectionState()
		return Session{Protocol: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite), Leaf: state.PeerCertificates[0]}
	}
	_, socket := raw.(*net.UnixConn)
	return Session{Socket: socket}
}

// Exposure lists what is wrong with how the settings secure connections, and with certificates that are about to expire.
func Exposure(d dsn.DSN, setting string, s Session) []Finding {
	var list []Finding
	switch host, plain := d.Exposed(); {
	case plain && host != "":
		list = append(list, Finding{
			"not_encrypted", fmt.Sprintf("everything goes to %s in the clear (%s)", host, setting),
			"use sslmode=verify-full, and unset STEM_TLS_ALLOW_INSECURE",
		})
	case host != "":
		list = append(list, Finding{
			"certificates_not_enforced", fmt.Sprintf("STEM_TLS_ALLOW_INSECURE is on: nothing makes sure that %s is the right server (%s)", host, setting),
			"unset it; stem doctor tls says what is wrong with the certificate, if anything is",
		})
	}
	if s.Leaf != nil {
		list = append(list, expiring("server_certificate_expires", "the server's certificate", s.Leaf.NotAfter, "renew it on the server")...)
	}
	if name, until := d.ClientCertificate(); name != "" {
		list = append(list, expiring("client_certificate_expires", "the certificate of "+name, until, "renew it; processes that run read it again")...)
	}
	return list
}

func expiring(name, what string, until time.Time, fix string) []Finding {
	left := time.Until(until)
	switch {
	case left > soon:
		return nil
	case left <= 0:
		return []Finding{{name, what + " has expired on " + stamp(until), fix}}
	}
	return []Finding{{name, fmt.Sprintf("%s expires on %s, in %s", what, stamp(until), arg.Text(left.Round(time.Hour))), fix}}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
