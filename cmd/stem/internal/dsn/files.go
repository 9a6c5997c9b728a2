package dsn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

// File is a file and the setting that names it.
type File struct{ Path, Source string }

// files are those of TLS; a path may be "".
type files struct {
	ca, cert, key File
	guarded       string // a directory whose files are guarded by whoever mounted it
	lenient       bool   // certificates may have expired: insecure mode reports it
}

// material is what was in the files.
type material struct {
	roots       *x509.CertPool // nil is the system's
	authorities []*x509.Certificate
	pair        *tls.Certificate // the client's, or nil
	stamps      []os.FileInfo    // what the files looked like
}

const (
	errEncrypted = "encrypted keys are not supported; decrypt it and protect it with LoadCredential"
	fileLimit    = 1 << 20
)

// load reads and checks the files. Its errors are faults that name the setting and the path.
func (f files) load() (*material, error) {
	switch {
	case f.cert.Path != "" && f.key.Path == "":
		return nil, fault.Config("bad_tls_file", "set %s too", partner(f.cert.Source)).About(f.cert.Source)
	case f.key.Path != "" && f.cert.Path == "":
		return nil, fault.Config("bad_tls_file", "set %s too", partner(f.key.Source)).About(f.key.Source)
	}
	m := &material{stamps: f.stat()} // before reading: a file that changes meanwhile is read again
	if f.ca.Path == system {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fault.Config("bad_tls_file", "%s: the system's certificates cannot be read", f.ca.Source).About(f.ca.Source).Because(err)
		}
		m.roots = roots
	} else if f.ca.Path != "" {
		list, err := f.ca.certificates(f.lenient)
		if err != nil {
			return nil, err
		}
		m.authorities, m.roots = list, x509.NewCertPool()
		for _, c := range list {
			m.roots.AddCert(c)
		}
	}
	if f.cert.Path == "" {
		return m, nil
	}
	var err error
	m.pair, err = f.pair()
	return m, err
}

func partner(source string) string {
	return map[string]string{envCert: envKey, envKey: envCert, "sslcert": "sslkey", "sslkey": "sslcert"}[source]
}

// pair reads the client's certificate and its key.
func (f files) pair() (*tls.Certificate, error) {
	certText, err := f.cert.read()
	if err != nil {
		return nil, err
	}
	if _, err := f.cert.parse(certText, false); err != nil {
		return nil, err
	}
	if err := f.key.guard(f.guarded); err != nil {
		return nil, err
	}
	keyText, err := f.key.read()
	if err != nil {
		return nil, err
	}
	if err := f.key.checkKey(keyText); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, f.key.wrong(" is not the key of %s (%s)", f.cert.Source, f.cert.Path)
	case err != nil:
		return nil, f.key.wrong(" and %s (%s) do not work: %s", f.cert.Source, f.cert.Path, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &pair, nil
}

func (f File) wrong(format string, args ...any) *fault.Error {
	return fault.Config("bad_tls_file", "%s: %s%s", f.Source, f.Path, fmt.Sprintf(format, args...)).About(f.Source)
}

func (f File) swapped(what string) *fault.Error {
	kind := "variables"
	if !strings.HasPrefix(f.Source, "STEM_") {
		kind = "parameters"
	}
	return fault.Config("bad_tls_file", "%s holds a %s; are the two %s swapped?", f.Source, what, kind).About(f.Source)
}

func (f File) read() ([]byte, error) {
	text, err := f.text()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.ExitNoInput, "input_missing", "%s: %s: no such file", f.Source, f.Path).About(f.Source).Because(err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.New(fault.ExitPermission, "permission_denied", "%s: %s: this user may not read it", f.Source, f.Path).
			About(f.Source).Because(err)
	case errors.Is(err, syscall.EISDIR):
		return nil, f.wrong(": is a directory")
	case err != nil:
		return nil, fault.New(fault.ExitNoInput, "input_missing", "%s: %s: cannot be read", f.Source, f.Path).About(f.Source).Because(err)
	case len(text) > fileLimit:
		return nil, f.wrong(": larger than 1 MiB")
	case len(bytes.TrimSpace(text)) == 0:
		return nil, f.wrong(": empty")
	}
	return text, nil
}

func (f File) text() ([]byte, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, fileLimit+1))
}

// guard refuses a key that others may read. As for libpq, a group may read one that belongs to root.
func (f File) guard(guarded string) error {
	if guarded != "" && strings.HasPrefix(filepath.Clean(f.Path), filepath.Clean(guarded)+string(filepath.Separator)) {
		return nil
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil //nolint:nilerr // reading it says so better
	}
	forbidden := fs.FileMode(0o077)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == 0 && os.Geteuid() != 0 {
		forbidden = 0o037
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&forbidden != 0 {
		return fault.New(fault.ExitPermission, "secret_readable", "%s: %s: readable by others (%04o); chmod 0600 or use LoadCredential",
			f.Source, f.Path, info.Mode().Perm()).About(f.Source)
	}
	return nil
}

// certificates reads a PEM file of certificates. It is an error when none of them is valid now, unless lenient.
func (f File) certificates(lenient bool) ([]*x509.Certificate, error) {
	text, err := f.read()
	if err != nil {
		return nil, err
	}
	return f.parse(text, lenient)
}

func (f File) parse(text []byte, lenient bool) ([]*x509.Certificate, error) {
	var (
		list   []*x509.Certificate
		hasKey bool
	)
	for block := range blocks(text) {
		hasKey = hasKey || strings.HasSuffix(block.Type, "PRIVATE KEY")
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, f.wrong(": certificate %d does not parse: %s", len(list)+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		list = append(list, c)
	}
	switch {
	case len(list) == 0 && hasKey && (f.Source == envCert || f.Source == "sslcert"):
		return nil, f.swapped("private key")
	case len(list) == 0 && hasKey:
		return nil, f.wrong(" holds a private key, not a certificate")
	case len(list) == 0 && text[0] == 0x30: // how DER begins
		return nil, f.wrong(" contains no CERTIFICATE block; DER? convert with openssl x509 -inform der")
	case len(list) == 0:
		return nil, f.wrong(" contains no CERTIFICATE block")
	case lenient:
		return list, nil
	}
	return list, f.valid(list)
}

// valid complains when there is nothing left to hope for: of a client's chain the first must be valid, of authorities one.
func (f File) valid(list []*x509.Certificate) error {
	now, first := time.Now(), list[0]
	if f.Source == envCert || f.Source == "sslcert" {
		list = list[:1]
	}
	if slices.ContainsFunc(list, func(c *x509.Certificate) bool { return !now.Before(c.NotBefore) && !now.After(c.NotAfter) }) {
		return nil
	}
	if now.Before(first.NotBefore) {
		return f.wrong(" is not valid before %s, and the clock here says %s", stamp(first.NotBefore), stamp(now))
	}
	return f.wrong(" expired on %s; renew it", stamp(first.NotAfter))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (f File) checkKey(text []byte) error {
	var hasKey, hasCertificate bool
	for block := range blocks(text) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return f.wrong(": %s", errEncrypted)
		}
		hasKey = hasKey || strings.HasSuffix(block.Type, "PRIVATE KEY")
		hasCertificate = hasCertificate || block.Type == "CERTIFICATE"
	}
	switch {
	case hasKey:
		return nil
	case hasCertificate:
		return f.swapped("certificate")
	case text[0] == 0x30:
		return f.wrong(" contains no PRIVATE KEY block; DER? convert with openssl pkey -inform der")
	}
	return f.wrong(" contains no PRIVATE KEY block")
}

// blocks are the blocks of a PEM file.
func blocks(text []byte) func(func(*pem.Block) bool) {
	return func(yield func(*pem.Block) bool) {
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil || !yield(block) {
				return
			}
		}
	}
}

// give puts the certificates into a configuration of TLS.
func (m *material) give(t *tls.Config) {
	t.RootCAs = m.roots
	t.Certificates = nil
	if m.pair != nil {
		t.Certificates = []tls.Certificate{*m.pair}
	}
}

// stat is what the files look like now; nil where there is none.
func (f files) stat() []os.FileInfo {
	var list []os.FileInfo
	for _, one := range []File{f.ca, f.cert, f.key} {
		var info os.FileInfo
		if one.Path != "" && one.Path != system {
			info, _ = os.Stat(one.Path) // reading it says why not
		}
		list = append(list, info)
	}
	return list
}
