package devpg

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificates are the files of a server's TLS.
type certificates struct {
	authority   string // what clients check the server with
	certificate string
	key         string // readable by the server's user alone
}

// newCertificates makes a certificate authority for one server, signs one certificate for loopback and throws the
// authority's key away, so nobody can sign another.
func newCertificates(h *home, a account) (certificates, error) {
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
		return certificates{}, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return certificates{}, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return certificates{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return certificates{}, err
	}
	return writeCertificates(h, a, authorityDER, serverDER, keyDER)
}

func writeCertificates(h *home, a account, authority, server, key []byte) (certificates, error) {
	c := certificates{
		authority:   filepath.Join(h.path, "ca.pem"),
		certificate: filepath.Join(h.path, "server.pem"),
	}
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for path, der := range map[string][]byte{c.authority: authority, c.certificate: server} {
		if err := os.WriteFile(path, encode("CERTIFICATE", der), 0o644); err != nil { //nolint:gosec // public
			return certificates{}, err
		}
	}
	var err error
	c.key, err = h.file("server.key", a, string(encode("PRIVATE KEY", key)))
	return c, err
}
