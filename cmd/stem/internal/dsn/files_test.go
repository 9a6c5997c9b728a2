package dsn_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/pgtest"
)

// Rows 63 to 66 of the bad-input catalogue.
func TestFilesAreCheckedBeforeAnythingIsDialled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := pgtest.NewAuthority(t, "one authority")
	client, other := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true}), ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	long := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	expired := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true, From: long.AddDate(0, 0, -1), Until: long})
	early := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true, From: long.AddDate(100, 0, 0), Until: long.AddDate(101, 0, 0)})
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	block, _ := pem.Decode([]byte(read(ca.File)))
	der := write("ca.der", string(block.Bytes), 0o600)
	keyBlock, _ := pem.Decode([]byte(read(client.Key)))
	legacy, err := x509.EncryptPEMBlock(strings.NewReader(strings.Repeat("r", 64)), "EC PRIVATE KEY", keyBlock.Bytes, //nolint:staticcheck // the old form is what is refused
		[]byte("x"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	sealed := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: keyBlock.Bytes}))
	const encrypted = ": encrypted keys are not supported; decrypt it and protect it with LoadCredential"
	tests := []struct {
		name          string
		ca, cert, key string
		exit          int
		want          string // without the setting's name and the path, which "$" stands for
	}{
		{name: "row 63", cert: client.Cert, exit: 78, want: "set STEM_TLS_CLIENT_KEY too"},
		{name: "row 63, turned round", key: client.Key, exit: 78, want: "set STEM_TLS_CLIENT_CERT too"},
		{name: "missing", ca: dir + "/none.pem", exit: 66, want: "STEM_TLS_CA_CERT: $: no such file"},
		{name: "directory", ca: dir, exit: 78, want: "STEM_TLS_CA_CERT: $: is a directory"},
		{
			name: "row 64, DER", ca: der, exit: 78,
			want: "STEM_TLS_CA_CERT: $ contains no CERTIFICATE block; DER? convert with openssl x509 -inform der",
		},
		{name: "row 64, key", ca: client.Key, exit: 78, want: "STEM_TLS_CA_CERT: $ holds a private key, not a certificate"},
		{name: "row 64, empty", ca: write("empty", "\n", 0o600), exit: 78, want: "STEM_TLS_CA_CERT: $: empty"},
		{name: "row 64, expired", ca: expired.Cert, exit: 78, want: "STEM_TLS_CA_CERT: $ expired on 2020-01-02T03:04:05Z; renew it"},
		{name: "not PEM", ca: write("text", "hello", 0o600), exit: 78, want: "STEM_TLS_CA_CERT: $ contains no CERTIFICATE block"},
		{
			name: "cut off", ca: write("cut", strings.Replace(read(ca.File), "\nMII", "\nMIA", 1), 0o600), exit: 78,
			want: "STEM_TLS_CA_CERT: $: certificate 1 does not parse: malformed certificate",
		},
		{name: "large", ca: write("large", strings.Repeat("x", 1<<20+1), 0o600), exit: 78, want: "STEM_TLS_CA_CERT: $: larger than 1 MiB"},
		{
			name: "row 65", cert: client.Key, key: client.Cert, exit: 78,
			want: "STEM_TLS_CLIENT_CERT holds a private key; are the two variables swapped?",
		},
		{
			name: "a certificate twice", cert: client.Cert, key: client.Cert, exit: 78,
			want: "STEM_TLS_CLIENT_KEY holds a certificate; are the two variables swapped?",
		},
		{name: "row 66", cert: client.Cert, key: write("sealed", sealed, 0o600), exit: 78, want: "STEM_TLS_CLIENT_KEY: $" + encrypted},
		{
			name: "row 66, the old form", cert: client.Cert, key: write("legacy", string(pem.EncodeToMemory(legacy)), 0o600), exit: 78,
			want: "STEM_TLS_CLIENT_KEY: $" + encrypted,
		},
		{name: "no key", cert: client.Cert, key: write("nokey", "hello", 0o600), exit: 78, want: "STEM_TLS_CLIENT_KEY: $ contains no PRIVATE KEY block"},
		{
			name: "DER key", cert: client.Cert, key: write("key.der", string(keyBlock.Bytes), 0o600), exit: 78,
			want: "STEM_TLS_CLIENT_KEY: $ contains no PRIVATE KEY block; DER? convert with openssl pkey -inform der",
		},
		{
			name: "mode", cert: client.Cert, key: write("open", read(client.Key), 0o644), exit: 77,
			want: "STEM_TLS_CLIENT_KEY: $: readable by others (0644); chmod 0600 or use LoadCredential",
		},
		{
			name: "another's key", cert: client.Cert, key: other.Key, exit: 78,
			want: "STEM_TLS_CLIENT_KEY: $ is not the key of STEM_TLS_CLIENT_CERT (" + client.Cert + ")",
		},
		{
			name: "expired", cert: expired.Cert, key: expired.Key, exit: 78,
			want: "STEM_TLS_CLIENT_CERT: " + expired.Cert + " expired on 2020-01-02T03:04:05Z; renew it",
		},
		{
			name: "too early", cert: early.Cert, key: early.Key, exit: 78,
			want: "STEM_TLS_CLIENT_CERT: " + early.Cert + " is not valid before 2120-01-02T03:04:05Z, and the clock here says ",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := dsn.TLS{CACert: tt.ca, ClientCert: tt.cert, ClientKey: tt.key}.Check()
			want := strings.ReplaceAll(tt.want, "$", tt.ca+tt.key)
			if err == nil || err.Error() != want && (tt.name != "too early" || !strings.HasPrefix(err.Error(), want)) || fault.Exit(err) != tt.exit {
				t.Errorf("got  %v (%d)\nwant %s (%d)", err, fault.Exit(err), want, tt.exit)
			}
		})
	}
}

func TestFilesThatAreGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := pgtest.NewAuthority(t, "one authority")
	client := ca.Issue(t, pgtest.Leaf{Name: "app", Client: true})
	expired := ca.Issue(t, pgtest.Leaf{Name: "old", From: time.Unix(0, 0), Until: time.Unix(1, 0)})
	text := func(paths ...string) (all []byte) {
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	}
	credential, bundle, both := filepath.Join(dir, "key"), filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "both.pem")
	for path, content := range map[string][]byte{
		credential: text(client.Key), bundle: text(expired.Cert, ca.File), both: text(client.Cert, client.Key),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(credential, 0o440); err != nil { // as systemd mounts them
		t.Fatal(err)
	}
	for name, rules := range map[string]dsn.TLS{
		"nothing": {}, "system": {CACert: "system"}, "one of a bundle is valid": {CACert: bundle},
		"in one file": {ClientCert: both, ClientKey: both}, "credential": {ClientCert: client.Cert, ClientKey: credential, Credentials: dir},
		"expired, and insecure mode will say so": {CACert: expired.Cert, AllowInsecure: true},
	} {
		if err := rules.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
