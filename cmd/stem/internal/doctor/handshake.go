package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

// Certificate is one of a chain, in the words that people compare.
type Certificate struct {
	Subject, Issuer string
	Names           []string // DNS names and IP addresses it is for
	From, Until     time.Time
	Key             string
}

// Handshake is what a server said when TLS began. Nothing secret was sent: no password, and no statement.
type Handshake struct {
	Host, Address string
	Reached       bool // TLS was spoken; else Verdict says why not

	Protocol, Cipher string
	Negotiation      string // postgres or direct
	Chain            []Certificate

	Asked     bool     // the server asked for a client's certificate
	Accepts   []string // of these issuers; none is any
	Presented string   // the subject of the one that was sent

	Methods []string // what the server authenticates with: SASL mechanisms, or the name of its request
	Refusal string   // what it said instead, with what to do about it
	Remedy  string

	Verdict string // what sslmode=verify-full says against it; "" is nothing
	Advice  string

	seen *tls.ConnectionState
}

// Binding tells whether the server can prove a password over this very connection.
func (h *Handshake) Binding() bool { return slices.Contains(h.Methods, "SCRAM-SHA-256-PLUS") }

// Explain begins TLS with a server, whatever its certificate is worth, and says what it is worth.
func Explain(ctx context.Context, d dsn.DSN, way dsn.Way) Handshake {
	h := Handshake{Host: way.Host, Address: way.Address(), Negotiation: cmp.Or(way.Negotiation, "postgres")}
	target := d.Target()
	target.Address = h.Address
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(target.Timeout, 10*time.Second))
	defer cancel()
	err := h.shake(ctx, way, target)
	if h.seen == nil {
		h.Verdict, h.Advice = reason(err), advice(err, target)
		return h
	}
	h.Reached = true
	h.Protocol, h.Cipher = tls.VersionName(h.seen.Version), tls.CipherSuiteName(h.seen.CipherSuite)
	for _, c := range h.seen.PeerCertificates {
		h.Chain = append(h.Chain, describe(c))
	}
	if err != nil {
		h.Refusal, h.Remedy = reason(err), advice(err, target)
	}
	if err := dsn.Verify(*h.seen, way.Host, way.TLS.RootCAs); err != nil {
		h.Verdict, h.Advice = reason(err), advice(err, target)
	} else if h.seen.Version < tls.VersionTLS12 {
		h.Verdict = h.Protocol + " is too old"
		h.Advice = "Server offers less than TLS 1.2; set ssl_min_protocol_version on the server."
	}
	return h
}

// advice is what to do about an error of a handshake, or of the greeting after it.
func advice(err error, target fault.Target) string {
	f := fault.FromTLS(err, target)
	if f == nil {
		f, _ = errors.AsType[*fault.Error](fault.From(err, target))
	}
	return f.Hint
}

// reason is an error of the network without the addresses, which stand beside it.
func reason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Message
	}
	return err.Error()
}

func (h *Handshake) shake(ctx context.Context, way dsn.Way, target fault.Target) error {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", h.Address)
	if err != nil {
		return err
	}
	defer raw.Close() //nolint:errcheck // it was only listened to
	if deadline, ok := ctx.Deadline(); ok {
		if err := raw.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if h.Negotiation != "direct" {
		if err := request(raw); err != nil {
			return err
		}
	}
	conn := tls.Client(raw, h.open(way))
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	return h.greet(conn, target)
}

// open is a configuration that takes any certificate and any version, and notes what the server asks for.
func (h *Handshake) open(way dsn.Way) *tls.Config {
	t := way.TLS.Clone()
	t.InsecureSkipVerify = true     // it is verified afterwards, and nothing secret is sent
	t.MinVersion = tls.VersionTLS10 // to say that it is old
	t.VerifyConnection = func(state tls.ConnectionState) error { h.seen = &state; return nil }
	pairs := t.Certificates
	t.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		h.Asked = true
		for _, der := range r.AcceptableCAs {
			h.Accepts = append(h.Accepts, distinguished(der))
		}
		for i := range pairs {
			if r.SupportsCertificate(&pairs[i]) == nil {
				h.Presented = pairs[i].Leaf.Subject.String()
				return &pairs[i], nil
			}
		}
		return new(tls.Certificate), nil
	}
	return t
}

// request asks for TLS, as clients of servers before 17 must.
func request(conn net.Conn) error {
	if err := binary.Write(conn, binary.BigEndian, []uint32{8, 80877103}); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return errors.New("server refused TLS connection")
	}
	return nil
}

// greet says who comes, and hears how the server would have that proven. Then it leaves.
func (h *Handshake) greet(conn net.Conn, target fault.Target) error {
	f := pgproto3.NewFrontend(conn, conn)
	f.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": target.User, "database": target.Database, "application_name": "stem/doctor"},
	})
	if err := f.Flush(); err != nil {
		return err
	}
	message, err := f.Receive()
	if err != nil {
		return err
	}
	switch m := message.(type) {
	case *pgproto3.AuthenticationSASL:
		h.Methods = slices.Clone(m.AuthMechanisms)
	case *pgproto3.AuthenticationMD5Password:
		h.Methods = []string{"md5"}
	case *pgproto3.AuthenticationCleartextPassword:
		h.Methods = []string{"password"}
	case *pgproto3.AuthenticationOk:
		h.Methods = []string{"none"}
		if h.Presented != "" {
			h.Methods = []string{"cert"}
		}
	case *pgproto3.ErrorResponse:
		return &pgconn.PgError{Severity: m.Severity, Code: m.Code, Message: m.Message}
	default:
		h.Methods = []string{fmt.Sprintf("%T", m)}
	}
	return nil
}

func describe(c *x509.Certificate) Certificate {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: names, From: c.NotBefore, Until: c.NotAfter,
		Key: c.PublicKeyAlgorithm.String() + ", signed with " + c.SignatureAlgorithm.String(),
	}
}

func distinguished(der []byte) string {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &names); err != nil {
		return strconv.Quote(string(der))
	}
	return names.String()
}
