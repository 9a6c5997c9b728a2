package security_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var all = []string{"ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"}

// generate runs the script in an empty directory and returns what it printed, what it said, and its exit code.
func generate(t *testing.T, dir string, environment []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	for _, program := range []string{"bash", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: %v", err)
		}
	}
	script, err := filepath.Abs("generate_tls_assets.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{script}, args...)...)
	var out, said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &out, &said, append([]string{"PATH=" + os.Getenv("PATH")}, environment...)
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return out.String(), said.String(), code
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s: no PEM", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func contents(t *testing.T, dir string) (list []string) {
	t.Helper()
	for _, name := range all {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

func TestTheFilesAreWhatTheySay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stdout, stderr, code := generate(t, dir, nil, "--out", "tmp/tls", "--host", "db.internal", "--san", "*.db.internal,10.0.0.1", "--san=fd00::1",
		"--days", "30", "--client-cn", "app")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	out := filepath.Join(dir, "tmp", "tls")
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != len(all) {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, name := range all {
		want := os.FileMode(0o644)
		if strings.HasSuffix(name, "-key.pem") {
			want = 0o600
		}
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	ca, server, client := certificate(t, out+"/ca.pem"), certificate(t, out+"/server.pem"), certificate(t, out+"/client.pem")
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, host := range []string{"db.internal", "a.db.internal", "10.0.0.1", "fd00::1"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := server.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("the server's certificate is one for clients too")
	}
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("the client's certificate is one for servers too")
	}
	if !ca.IsCA || ca.KeyUsage&x509.KeyUsageCertSign == 0 || !ca.MaxPathLenZero || server.IsCA || client.Subject.CommonName != "app" {
		t.Errorf("ca %+v, client %s", ca.KeyUsage, client.Subject)
	}
	for _, c := range []*x509.Certificate{ca, server, client} {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: key %T", c.Subject, c.PublicKey)
		}
		if left := time.Until(c.NotAfter); left < 29*24*time.Hour || left > 30*24*time.Hour {
			t.Errorf("%s: valid for %s", c.Subject, left)
		}
	}
	for _, name := range []string{"ca", "server", "client"} {
		if _, err := tls.LoadX509KeyPair(out+"/"+name+".pem", out+"/"+name+"-key.pem"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, want := range []string{
		"export STEM_TLS_CA_CERT='" + out + "/ca.pem'\n", "export STEM_TLS_CLIENT_CERT='" + out + "/client.pem'\n",
		"export STEM_TLS_CLIENT_KEY='" + out + "/client-key.pem'\n", "#   ssl_ca_file = '" + out + "/ca.pem'", "#   hostssl all app all scram-sha-256 clientcert=verify-full\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
}

func TestASecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, stderr, code := generate(t, dir, nil, "--out", "tls", "--client-cn", "app"); code != 0 {
		t.Fatal(stderr)
	}
	first := contents(t, dir+"/tls")
	stdout, stderr, code := generate(t, dir, nil, "--out", "tls", "--host", "other")
	if code != 0 || !slices.Equal(contents(t, dir+"/tls"), first) || !strings.Contains(stderr, "unchanged: ") || !strings.Contains(stdout, "hostssl all app all") {
		t.Errorf("exit %d, %s%s", code, stderr, stdout)
	}
	if err := os.Remove(dir + "/tls/client.pem"); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code = generate(t, dir, nil, "--out", "tls"); code != 1 || !strings.Contains(stderr, "has 5 of the six files; --force replaces them") {
		t.Errorf("half a set: exit %d, %s", code, stderr)
	}
	if _, stderr, code = generate(t, dir, nil, "--out", "tls", "--force"); code != 0 {
		t.Fatal(stderr)
	}
	for i, text := range contents(t, dir+"/tls") {
		if text == first[i] {
			t.Errorf("--force left %s alone", all[i])
		}
	}
	server := certificate(t, dir+"/tls/server.pem")
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} { // without --host
		if err := server.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestTheOlderForm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, stderr, code := generate(t, dir, []string{"DAYS=7", "CLIENT_CN=dart"}, ".certs", "api.internal", "db.internal,10.0.0.1"); code != 0 {
		t.Fatal(stderr)
	}
	server, client := certificate(t, dir+"/.certs/server.pem"), certificate(t, dir+"/.certs/client.pem")
	for _, host := range []string{"api.internal", "db.internal", "10.0.0.1"} {
		if err := server.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if left := time.Until(server.NotAfter); client.Subject.CommonName != "dart" || left > 7*24*time.Hour {
		t.Errorf("client %s, valid for %s", client.Subject, left)
	}
	if _, stderr, code := generate(t, dir, nil); code != 0 || !strings.Contains(stderr, "unchanged: ") {
		t.Errorf("the default directory is .certs: exit %d, %s", code, stderr)
	}
	if _, stderr, code := generate(t, dir, nil, "other"); code != 0 || certificate(t, dir+"/other/server.pem").VerifyHostname("stem.local") != nil {
		t.Errorf("the default host of that form is stem.local: exit %d, %s", code, stderr)
	}
}

func TestMistakesAreRefusedAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`unknown flag --hosts; see --help`:                         {"--hosts", "x"},
		`--out needs a value`:                                      {"--out"},
		`--days needs a value`:                                     {"--days="},
		`--days: want an integer from 1 to 36500, got "0"`:         {"--days", "0"},
		`--days: want an integer from 1 to 36500, got "1e3"`:       {"--days", "1e3"},
		`--days: want an integer from 1 to 36500, got "99999"`:     {"--days", "99999"},
		`host "a;b": want a DNS name or an IP address`:             {"--host", "a;b"},
		`host "-x": want a DNS name or an IP address`:              {"--san", "-x"},
		`--client-cn: want letters, digits, _ . @ -, got "a/CN=b"`: {"--client-cn", "a/CN=b"},
		`too many arguments: d; see --help`:                        {"a", "b", "c", "d"},
	} {
		dir := t.TempDir()
		stdout, stderr, code := generate(t, dir, nil, args...)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if code != 64 || stderr != "generate_tls_assets: "+want+"\n" || stdout != "" || len(entries) > 0 {
			t.Errorf("%q: exit %d, %s%s, %d files", args, code, stderr, stdout, len(entries))
		}
	}
	if stdout, _, code := generate(t, t.TempDir(), nil, "--help"); code != 0 || !strings.Contains(stdout, "--client-cn CN") || strings.Contains(stdout, "set -e") {
		t.Errorf("help: exit %d, %s", code, stdout)
	}
}
