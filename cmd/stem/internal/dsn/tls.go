package dsn

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// TLS is what the STEM_TLS_ variables say.
type TLS struct {
	AllowInsecure bool   // STEM_TLS_ALLOW_INSECURE
	CACert        string // STEM_TLS_CA_CERT: the path of a PEM file, or "system"
	ClientCert    string // STEM_TLS_CLIENT_CERT
	ClientKey     string // STEM_TLS_CLIENT_KEY
	Negotiation   string // STEM_TLS_NEGOTIATION: auto, postgres or direct; "" is postgres
	Credentials   string // $CREDENTIALS_DIRECTORY, whose files systemd guards
}

// Any tells whether a file or a negotiation is named.
func (t TLS) Any() bool { return t.CACert+t.ClientCert+t.ClientKey+t.Negotiation != "" }

// Check reads the files that the variables name and tells what is wrong with them.
func (t TLS) Check() error {
	f := files{
		ca: File{t.CACert, envCA}, cert: File{t.ClientCert, envCert}, key: File{t.ClientKey, envKey},
		guarded: t.Credentials, lenient: t.AllowInsecure,
	}
	_, err := f.load()
	return err
}

const (
	envCA          = "STEM_TLS_CA_CERT"
	envCert        = "STEM_TLS_CLIENT_CERT"
	envKey         = "STEM_TLS_CLIENT_KEY"
	envNegotiation = "STEM_TLS_NEGOTIATION"
	verifyFull     = "verify-full"
	auto           = "auto"
	direct         = "direct"
	system         = "system" // as a CA: the roots of the operating system
)

// security is what Secure decided.
type security struct {
	set      map[string]string // parameters that it decides
	shown    map[string]string // those of them that are worth printing
	files    files
	material *material
	mode     string // sslmode; "" for a Unix socket alone
	insecure bool   // verify, report, and go on
	auto     bool   // find out whether the server knows direct TLS
	ignored  bool   // there is nothing on the network that the TLS settings could be for
}

// Secure returns d with its TLS decided, or an error when a server that is not on this machine would be talked to
// without knowing who it is. Loopback addresses and Unix sockets may be plain. It reads and checks the files that the
// URL and t name.
func (d DSN) Secure(t TLS) (DSN, error) {
	s := security{set: map[string]string{}, shown: map[string]string{}}
	if allSockets(d.conn) {
		s.ignored = t.Any() || t.AllowInsecure || d.named("sslrootcert", "sslcert", "sslkey", "sslnegotiation")
		s.set = map[string]string{ // a check of TLS would refuse the socket
			"sslrootcert": "", "sslcert": "", "sslkey": "",
			"sslnegotiation": "postgres", "sslcertmode": "allow", "channel_binding": "prefer",
		}
		s.shown["sslmode"] = cmp.Or(d.params["sslmode"], "prefer")
		return d.secured(s)
	}
	var err error
	if s.files, err = d.files(t); err != nil {
		return DSN{}, err
	}
	remote := firstRemote(d.conn)
	if s.mode, err = d.mode(t, s.files, remote); err != nil {
		return DSN{}, err
	}
	s.set["sslmode"] = s.mode
	if d.params["sslmode"] == "" {
		s.shown["sslmode"] = s.mode
	}
	s.insecure = t.AllowInsecure && s.mode != "disable"
	s.files.lenient = s.insecure
	if s.mode != "disable" {
		if err := d.strengthen(&s, t); err != nil {
			return DSN{}, err
		}
	}
	secured, err := d.secured(s)
	if err != nil {
		return DSN{}, err
	}
	if remote != "" && s.mode == "disable" {
		return secured, nil
	}
	return secured, assert(secured.conn, s)
}

// named tells whether the URL says one of the parameters.
func (d DSN) named(params ...string) bool {
	return slices.ContainsFunc(params, func(p string) bool { return d.params[p] != "" })
}

// files merges the files of t with those of the URL, which must not name others.
func (d DSN) files(t TLS) (files, error) {
	f := files{guarded: t.Credentials}
	for _, one := range []struct {
		file             *File
		param, env, path string
	}{
		{&f.ca, "sslrootcert", envCA, t.CACert}, {&f.cert, "sslcert", envCert, t.ClientCert}, {&f.key, "sslkey", envKey, t.ClientKey},
	} {
		inURL := d.params[one.param]
		switch {
		case one.path != "" && inURL != "" && inURL != one.path:
			return files{}, fmt.Errorf("%s in the URL and %s name different files; set only one", one.param, one.env)
		case one.path != "":
			*one.file = File{one.path, one.env}
		case inURL != "":
			*one.file = File{inURL, one.param}
		}
	}
	return f, nil
}

// mode decides the sslmode. Whoever names a file or a negotiation wants TLS, and TLS is verified.
func (d DSN) mode(t TLS, f files, remote string) (string, error) {
	mode, wish := d.params["sslmode"], cmp.Or(f.ca.Source, f.cert.Source, f.key.Source)
	switch {
	case wish != "":
	case t.Negotiation == direct:
		wish = envNegotiation
	case d.params["sslnegotiation"] == direct:
		wish = "sslnegotiation"
	}
	switch {
	case mode == "" && (remote != "" || wish != ""):
		return verifyFull, nil
	case mode == "":
		return "prefer", nil // on loopback
	case mode == verifyFull:
		return mode, nil
	case f.ca.Source == envCA:
		return "", fmt.Errorf("sslmode=%s contradicts %s; remove one, or use sslmode=verify-full", mode, envCA)
	case f.ca.Path == system:
		return "", fmt.Errorf("sslmode=%s contradicts sslrootcert=system; use sslmode=verify-full", mode)
	case wish != "" && (mode == "disable" || mode == "allow" || mode == "prefer"):
		return "", fmt.Errorf("sslmode=%s contradicts %s, which is for TLS alone; remove one, or use sslmode=verify-full", mode, wish)
	case remote != "" && mode == "disable" && !t.AllowInsecure:
		return "", fmt.Errorf("sslmode=disable would send everything to %s in the clear; use sslmode=verify-full, "+
			"or set STEM_TLS_ALLOW_INSECURE=true as well", remote)
	case remote != "" && mode != "disable":
		return "", fmt.Errorf("sslmode=%s does not check that the server is %s; use sslmode=verify-full "+
			"with sslrootcert=PATH or STEM_TLS_CA_CERT", mode, remote)
	}
	return mode, nil
}

// strengthen reads the files and asks for what the URL may only take back aloud: that the password is proven over this
// very connection, and that the client's certificate was asked for.
func (d DSN) strengthen(s *security, t TLS) error {
	var err error
	if s.material, err = s.files.load(); err != nil {
		return err
	}
	s.set["sslrootcert"], s.set["sslcert"], s.set["sslkey"] = s.files.ca.Path, s.files.cert.Path, s.files.key.Path
	for param, f := range map[string]File{"sslrootcert": s.files.ca, "sslcert": s.files.cert, "sslkey": s.files.key} {
		if f.Path != "" && d.params[param] == "" {
			s.shown[param] = f.Path
		}
	}
	if t.Negotiation != "" {
		if said := d.params["sslnegotiation"]; said != "" && said != t.Negotiation {
			return fmt.Errorf("sslnegotiation=%s in the URL contradicts %s=%s; set only one", said, envNegotiation, t.Negotiation)
		}
		s.auto = t.Negotiation == auto
		s.set["sslnegotiation"] = strings.Replace(t.Negotiation, auto, "postgres", 1)
	}
	certain := s.mode != "allow" && s.mode != "prefer" && !anySocket(d.conn) // every connection has TLS
	if s.files.cert.Path != "" {
		switch said := d.params["sslcertmode"]; {
		case said == "disable":
			return fmt.Errorf("sslcertmode=disable contradicts %s; remove one", s.files.cert.Source)
		case said == "" && certain:
			s.set["sslcertmode"] = "require"
		}
	}
	if d.conn.Password != "" && certain {
		if d.params["channel_binding"] == "" {
			s.set["channel_binding"] = "require"
		}
		if d.params["require_auth"] == "" {
			s.set["require_auth"] = "scram-sha-256"
		}
	}
	return nil
}

// secured parses d again, with what s decided.
func (d DSN) secured(s security) (DSN, error) {
	d.sec = s
	conn, err := d.parse(s.set)
	if err != nil {
		return DSN{}, err
	}
	d.conn = conn
	d.harden(conn, nil)
	return d, nil
}

// Ignored tells whether there are settings of TLS, and nothing on the network for them.
func (d DSN) Ignored() bool { return d.sec.ignored }

// Exposed names the server on the network that d talks to without knowing that it is the right one, or "": Plain when
// even without encryption, which takes both the URL and STEM_TLS_ALLOW_INSECURE to say so.
func (d DSN) Exposed() (host string, plain bool) {
	if !d.Given() || d.sec.mode != "disable" && !d.sec.insecure {
		return "", false
	}
	host = firstRemote(d.conn)
	if host == "" && d.sec.insecure && d.sec.mode == verifyFull {
		host = d.conn.Host
	}
	return host, d.sec.mode == "disable"
}

// Mode is the sslmode in force; "" for a Unix socket.
func (d DSN) Mode() string { return d.sec.mode }

// TLSFiles names the file of authorities and that of the client's certificate; "" is none.
func (d DSN) TLSFiles() (ca, client string) { return d.sec.files.ca.Path, d.sec.files.cert.Path }

// firstRemote is the first host that is neither a socket nor a loopback address, or "".
func firstRemote(c *pgx.ConnConfig) string {
	for e := range entries(c) {
		if !local(e.host) {
			return e.host
		}
	}
	return ""
}

func allSockets(c *pgx.ConnConfig) bool {
	for e := range entries(c) {
		if !isSocket(e.host) {
			return false
		}
	}
	return true
}

func anySocket(c *pgx.ConnConfig) bool {
	for e := range entries(c) {
		if isSocket(e.host) {
			return true
		}
	}
	return false
}

// assert looks at what pgx made of the URL: every way to reach a remote host, and with verify-full every way over the
// network, must check the certificate against the name of that host.
func assert(c *pgx.ConnConfig, s security) error {
	for e := range entries(c) {
		if isSocket(e.host) || local(e.host) && s.mode != verifyFull {
			continue
		}
		t := *e.tls
		verified := t != nil && t.ServerName == e.host && t.MinVersion >= tls.VersionTLS12 &&
			(!t.InsecureSkipVerify || s.insecure && t.VerifyConnection != nil)
		if !verified {
			return fmt.Errorf("the certificate of %s would not be verified; use sslmode=verify-full", e.host)
		}
	}
	return nil
}
