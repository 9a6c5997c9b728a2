package devpg

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates are the PEM files of one server's TLS.
type Certificates struct {
	Authority   string // what clients check the server with
	Certificate string // the server's, for localhost, 127.0.0.1 and ::1
	Key         string // readable by its owner alone
}

// NewCertificates makes a certificate authority, signs one certificate for loopback, writes both to dir and throws the
// authority's key away, so nobody can sign another.
func NewCertificates(dir string) (Certificates, error) {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stem devpg authority"},
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range []*x509.Certificate{authority, server} {
		c.NotBefore = time.Now().Add(-time.Hour) // a container's clock may lag behind
		c.NotAfter = c.NotBefore.AddDate(10, 0, 0)
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificates{}, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificates{}, err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return Certificates{}, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return Certificates{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return Certificates{}, err
	}
	return writeCertificates(dir, authorityDER, serverDER, keyDER)
}

func writeCertificates(dir string, authority, server, key []byte) (Certificates, error) {
	c := Certificates{
		Authority:   filepath.Join(dir, "ca.pem"),
		Certificate: filepath.Join(dir, "server.pem"),
		Key:         filepath.Join(dir, "server.key"),
	}
	write := func(path, kind string, der []byte, mode os.FileMode) error {
		return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
	}
	return c, errors.Join(
		write(c.Authority, "CERTIFICATE", authority, 0o644),
		write(c.Certificate, "CERTIFICATE", server, 0o644),
		write(c.Key, "PRIVATE KEY", key, 0o600),
	)
}
