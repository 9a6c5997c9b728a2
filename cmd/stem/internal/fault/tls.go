package fault

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TLS is what was configured about encryption, as far as advice needs it.
type TLS struct {
	Mode        string   // sslmode; "" for a Unix socket
	CA          string   // the file of authorities; "" is the system's
	CASource    string   // the setting that names it
	Authorities []string // the names in it
	Negotiation string   // how TLS begins: postgres or direct

	ClientSource  string // the setting that names the client's certificate; "" is none
	ClientName    string // its common name
	ClientExpires time.Time
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// FromTLS explains an error of a handshake, or of what the server or pgx says about one. It returns nil when err is no
// such error.
func FromTLS(err error, t Target) *Error {
	c := t.TLS
	if c == nil {
		return nil
	}
	if e := fromCertificate(err, t, c); e != nil {
		return e
	}
	text := err.Error()
	ends := func(s string) bool { return strings.HasSuffix(text, s) }
	switch {
	case isAlert(err):
		return fromAlert(err, t, c)
	case ends("server refused TLS connection"):
		return t.tlsFault("tls_off", "the server refused TLS",
			"Server has ssl=off or a proxy sits in between. Turn ssl on.")
	case c.Negotiation == "direct" && errors.Is(err, io.EOF):
		return t.tlsFault("tls_direct", "the server hung up on TLS",
			"sslnegotiation=direct needs PostgreSQL 17.")
	case c.ClientSource != "" && cutOff(err):
		return t.tlsFault("tls_cut_off", "the server ended the connection during the handshake", clientAdvice(c,
			fmt.Sprintf("A server that refuses the certificate of %s (%s) may do that; its log has the reason.", c.ClientSource, c.ClientName)))
	case strings.Contains(text, "require_auth check failed: "):
		_, reason, _ := strings.Cut(text, "require_auth check failed: ")
		return New(ExitPermission, "auth_method", "the server asked for another proof of who this is: %s (%s)", reason, t).About("database").
			WithHint("Store the password as scram-sha-256 on the server (password_encryption, then set it anew), or put require_auth= with " +
				"what the server may ask for into the URL.")
	case strings.Contains(text, "channel binding"):
		return New(ExitPermission, "channel_binding", "the server did not prove the password over this very TLS connection (%s)", t).About("database").
			WithHint("A pooler in between cannot, nor can a password that is not stored as scram-sha-256. " +
				"If the pooler is meant, put channel_binding=prefer into the URL.")
	case strings.Contains(text, "sslcertmode check failed"):
		return New(ExitPermission, "client_certificate_unused", "the server let this client in without looking at its certificate (%s)", t).
			About("database").WithHint("Set ssl_ca_file on the server and clientcert=verify-full in pg_hba.conf; or unset %s, "+
			"or put sslcertmode=allow into the URL.", cmp.Or(c.ClientSource, "sslcert"))
	}
	return nil
}

// tlsFault is a server that was not reached because of TLS.
func (t Target) tlsFault(code, reason, advice string) *Error {
	return New(ExitUnavailable, code, "database unreachable: %s (%s)", reason, t).About("database").WithHint("%s", advice)
}

// fromCertificate explains why the server's certificate was refused.
func fromCertificate(err error, t Target, c *TLS) *Error {
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := "an authority without a name"
		if e.Cert != nil && e.Cert.Issuer.String() != "" {
			issuer = cmp.Or(e.Cert.Issuer.CommonName, e.Cert.Issuer.String())
		}
		advice := fmt.Sprintf("The server's certificate was issued by %s, which this system does not know. "+
			"Set STEM_TLS_CA_CERT to the CA that signed the server certificate.", issuer)
		if c.CA != "" && c.CA != "system" {
			which := strings.Join(c.Authorities, ", ")
			if slices.Contains(c.Authorities, issuer) {
				which += ", which has another key"
			}
			advice = fmt.Sprintf("The server's certificate was issued by %s. %s=%s contains %s. "+
				"Point it at the CA that signed the server certificate.", issuer, c.CASource, c.CA, which)
		}
		return t.tlsFault("tls_unknown_authority", e.Error(), advice)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return t.tlsFault("tls_wrong_host", e.Error(), hostAdvice(e))
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason != x509.Expired {
			return t.tlsFault("tls_certificate", e.Error(), "Reissue the server's certificate for what it is used for: a server's, signed by a CA that may.")
		}
		return t.tlsFault("tls_expired", e.Error(), fmt.Sprintf("The certificate of %s is valid from %s to %s; the clock here says %s. "+
			"Renew it on the server, or set the clock.", e.Cert.Subject.CommonName, stamp(e.Cert.NotBefore), stamp(e.Cert.NotAfter), stamp(time.Now())))
	}
	return nil
}

func hostAdvice(e x509.HostnameError) string {
	names := e.Certificate.DNSNames
	for _, ip := range e.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	kind := "DNS"
	if net.ParseIP(e.Host) != nil {
		kind = "IP"
	}
	if len(names) == 0 {
		return fmt.Sprintf("Reissue with subjectAltName=%s:%s.", kind, e.Host)
	}
	return fmt.Sprintf("Connect to one of %s or reissue the certificate with %s (subjectAltName=%s:%[2]s).", strings.Join(names, ", "), e.Host, kind)
}

// isAlert tells whether the server ended the handshake and said why.
func isAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

// fromAlert explains an alert. Go has no type for it: there is its text.
func fromAlert(err error, t Target, c *TLS) *Error {
	e, _ := errors.AsType[*net.OpError](err)
	reason := strings.TrimPrefix(e.Err.Error(), "tls: ")
	advice := "The server's log has the reason."
	switch reason {
	case "expired certificate":
		advice = clientAdvice(c, fmt.Sprintf("%s is valid until %s by the clock here; compare the server's.", c.ClientSource, stamp(c.ClientExpires)))
	case "protocol version not supported":
		advice = "Server offers less than TLS 1.2; set ssl_min_protocol_version on the server."
	case "unknown certificate authority", "bad certificate", "unsupported certificate", "revoked certificate", "certificate required":
		advice = fmt.Sprintf("The server does not accept the certificate of %s (%s): its issuer must be in the server's ssl_ca_file, "+
			"it must be a client's, and not revoked.", cmp.Or(c.ClientSource, "STEM_TLS_CLIENT_CERT"), cmp.Or(c.ClientName, "none was sent"))
	}
	return t.tlsFault("tls_alert", "the server ended the handshake: "+reason, advice)
}

// cutOff tells whether the server just left. With TLS 1.3 its reason may be lost: it answers to what the client sends after
// the handshake, and closes before that has arrived.
func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// clientAdvice is to renew the client's certificate where it has expired, else the other advice.
func clientAdvice(c *TLS, other string) string {
	if c.ClientSource != "" && time.Now().After(c.ClientExpires) {
		return fmt.Sprintf("Renew %s (expired %s).", c.ClientSource, stamp(c.ClientExpires))
	}
	return other
}

// loginAdvice is what to do about a login that the server refused.
func loginAdvice(pe *pgconn.PgError, t Target) string {
	c := t.TLS
	if c == nil {
		c = &TLS{}
	}
	switch {
	case strings.Contains(pe.Message, "requires a valid client certificate") && c.ClientSource == "":
		return "Set STEM_TLS_CLIENT_CERT/KEY; the issuer must be in the server's ssl_ca_file."
	case strings.Contains(pe.Message, "requires a valid client certificate"):
		return fmt.Sprintf("%s (%s) was not sent, because the server asked for one of other issuers: "+
			"the issuer must be in the server's ssl_ca_file.", c.ClientSource, c.ClientName)
	case strings.Contains(pe.Message, "no pg_hba.conf entry") && strings.Contains(pe.Message, "no encryption"):
		if c.Mode == "disable" {
			return "The server only accepts TLS from here: remove sslmode=disable."
		}
		return "The server only accepts TLS from here, if anything."
	case strings.Contains(pe.Message, "no pg_hba.conf entry"):
		return "pg_hba.conf on the server names neither this host, user and database nor all of them; add a hostssl line."
	case pe.Code == "28P01" && c.ClientSource != "":
		return fmt.Sprintf("With a client certificate configured this can also mean its CN (%s) is not the role %s; the server log has the reason.",
			c.ClientName, t.User)
	case pe.Code == "28000" && c.ClientSource != "" && strings.Contains(pe.Message, "certificate authentication failed"):
		return fmt.Sprintf("The CN of %s (%s) must be the role %s, or pg_ident.conf must map it.", c.ClientSource, c.ClientName, t.User)
	case t.Passwordless:
		return "the URL has no password; PGPASSWORD and ~/.pgpass are not read, but passfile=PATH in the URL is"
	}
	return "check the user, its password and pg_hba.conf; the server log has the reason"
}
