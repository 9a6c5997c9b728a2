package pgtest

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
	"testing"
	"time"
)

// Authority issues certificates for a test.
type Authority struct {
	File string // its own certificate

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Leaf says what a certificate is for. Zero times make it valid from an hour ago until tomorrow.
type Leaf struct {
	Name        string // the common name
	Hosts       []string
	Client      bool // for a client, not a server
	From, Until time.Time
}

// Pair is a certificate and its key, as PEM files.
type Pair struct{ Cert, Key string }

// NewAuthority makes an authority of that name.
func NewAuthority(tb testing.TB, name string) *Authority {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	a := &Authority{key: key, File: filepath.Join(tb.TempDir(), "ca.pem")}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	writePEM(tb, a.File, "CERTIFICATE", der)
	return a
}

// Issue signs a certificate for a key of its own and writes both to files of the test.
func (a *Authority) Issue(tb testing.TB, leaf Leaf) Pair {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: leaf.Name}, NotBefore: leaf.From, NotAfter: leaf.Until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if leaf.Client {
		template.ExtKeyUsage[0] = x509.ExtKeyUsageClientAuth
	}
	if leaf.From.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if leaf.Until.IsZero() {
		template.NotAfter = time.Now().AddDate(0, 0, 1)
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	p := Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writePEM(tb, p.Cert, "CERTIFICATE", der)
	writePEM(tb, p.Key, "PRIVATE KEY", keyDER)
	return p
}

func writePEM(tb testing.TB, path, kind string, der []byte) {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
}
