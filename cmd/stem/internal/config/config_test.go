package config_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/signing"
)

// load reads settings from an environment and a stem.yaml, away from those of this machine.
func load(t *testing.T, yaml string, environ ...string) (*config.Config, []*fault.Error, error) {
	t.Helper()
	return config.Load(sources(t, yaml, environ...))
}

func sources(t *testing.T, yaml string, environ ...string) config.Sources {
	t.Helper()
	dir := t.TempDir()
	if yaml != "" {
		write(t, filepath.Join(dir, "stem.yaml"), yaml, 0o600)
	}
	return config.Sources{Environ: environ, Dir: dir, SystemDir: filepath.Join(dir, "etc")}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

func TestSourcesOverrideOneAnother(t *testing.T) {
	t.Parallel()
	src := sources(t, "namespace: file\nconcurrency: 3\nlease: 40s\nworker:\n  queues: [mail=10, default]\n",
		"STEM_CONCURRENCY= 8 ", "STEM_LEASE=50s", "STEM_DATABASE_URL=postgres://app:s3cret@localhost/shop")
	src.Flags = pflag.NewFlagSet("", pflag.ContinueOnError)
	lease := arg.Within(time.Second, time.Hour, 0)
	src.Flags.Var(&lease, "lease", "")
	config.BindFlag(src.Flags.Lookup("lease"), "lease")
	if err := src.Flags.Parse([]string{"--lease", "1m"}); err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := config.Load(src)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if cfg.Namespace != "file" || cfg.Concurrency != 8 || cfg.Lease != time.Minute || cfg.Heartbeat != 10*time.Second {
		t.Errorf("got %+v", cfg)
	}
	if diff := cmp.Diff(arg.Slots{{Queue: "mail", Slots: 10}, {Queue: "default"}}, cfg.WorkerQueues); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]string{
		"namespace": "stem.yaml:1:1", "concurrency": "STEM_CONCURRENCY", "lease": "flag --lease", "heartbeat": "default",
		"worker.queues": "stem.yaml:5:3", "database_url": "STEM_DATABASE_URL", "listen_url": "unset",
	} {
		if got := cfg.Origin(key); got != want {
			t.Errorf("the origin of %s is %q, want %q", key, got, want)
		}
	}
	if i := slices.IndexFunc(cfg.Values(), func(v config.Value) bool { return strings.Contains(v.Value, "s3cret") }); i >= 0 {
		t.Errorf("a secret is shown: %v", cfg.Values()[i])
	}
}

func TestAliasesOfTheDartSystem(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(t, "", "STEM_DEFAULT_MAX_RETRIES=3", "STEM_WORKER_NAMESPACE=blue",
		"STEM_BROKER_URL=postgres://a@localhost/shop", "STEM_RESULT_BACKEND_URL=postgresql://b@localhost:5432/shop")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.DefaultMaxAttempts != 4 || cfg.Namespace != "blue" || cfg.Origin("database_url") != "STEM_BROKER_URL" {
		t.Errorf("got %d attempts, namespace %q, database from %s", cfg.DefaultMaxAttempts, cfg.Namespace, cfg.Origin("database_url"))
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	const db = "STEM_DATABASE_URL=postgres://app@localhost/shop"
	tests := []struct {
		name    string
		yaml    string
		environ []string
		exit    int
		want    string
	}{
		{
			"row 32", "",
			[]string{"STEM_BROKER_URL=redis://x:6379"},
			78,
			`STEM_BROKER_URL: Stem uses Postgres only; got scheme "redis". Example: postgres://user@host/db?sslmode=verify-full`,
		},
		{
			"row 33", "",
			[]string{"STEM_DATABASE_URL=postgres://app:pa/ss@h/db"},
			78,
			"STEM_DATABASE_URL: could not read the port; if the password contains / @ : # % encode it (/ = %2F)",
		},
		{
			"row 34", "",
			[]string{"STEM_DATABASE_URL=postgres://h/db?sslmode=verify_full"},
			78,
			`STEM_DATABASE_URL: sslmode "verify_full": did you mean verify-full?`,
		},
		{
			"row 35", "",
			[]string{"STEM_LISTEN_URL=postgres://h/db?sslrotcert=/x"},
			78,
			`STEM_LISTEN_URL: unknown connection parameter "sslrotcert". Did you mean sslrootcert?`,
		},
		{
			"row 36 strict", "",
			[]string{"STEM_CONCURENCY=8", "STEM_STRICT_ENV=true"},
			78,
			"unknown variable STEM_CONCURENCY. Did you mean STEM_CONCURRENCY?",
		},
		{
			"signing is always strict", "",
			[]string{"STEM_SIGNING_KEY=x"},
			78,
			"unknown variable STEM_SIGNING_KEY. Did you mean STEM_SIGNING_KEYS?",
		},
		{
			"encryption is always strict", "",
			[]string{"STEM_ENCRYPTION_KEY=x"},
			78,
			"unknown variable STEM_ENCRYPTION_KEY. Did you mean STEM_ENCRYPTION_KEYS?",
		},
		{
			"TLS is always strict", "",
			[]string{"STEM_TLS_CACERT=x"},
			78,
			"unknown variable STEM_TLS_CACERT. Did you mean STEM_TLS_CA_CERT?",
		},
		{
			"payload limit of the database", "",
			[]string{"STEM_MAX_PAYLOAD_BYTES=16777217"},
			78,
			`STEM_MAX_PAYLOAD_BYTES: want an integer from 1 to 16777216, got "16777217"`,
		},
		{"row 37 word", "", []string{"STEM_CONCURRENCY=eight"}, 78, `STEM_CONCURRENCY: want an integer from 1 to 10000, got "eight"`},
		{"row 37 float", "", []string{"STEM_CONCURRENCY=8.0"}, 78, `STEM_CONCURRENCY: want an integer from 1 to 10000, got "8.0"`},
		{"retries", "", []string{"STEM_DEFAULT_MAX_RETRIES=-1"}, 78, `STEM_DEFAULT_MAX_RETRIES: want an integer from 0 to 999, got "-1"`},
		{"row 38 yes", "", []string{"STEM_TLS_ALLOW_INSECURE=yes"}, 78, `STEM_TLS_ALLOW_INSECURE: want true or false, got "yes"`},
		{"row 38 blank", "", []string{"STEM_TLS_ALLOW_INSECURE=TRUE "}, 78, `STEM_TLS_ALLOW_INSECURE: want true or false, got "TRUE "`},
		{
			"another database", "",
			[]string{db, "STEM_BROKER_URL=postgres://app@localhost/other"},
			78,
			"STEM_BROKER_URL names another database (localhost:5432, user app, database other) than STEM_DATABASE_URL (localhost:5432, user app, database shop)",
		},
		{"two namespaces", "", []string{"STEM_NAMESPACE=a", "STEM_WORKER_NAMESPACE=b"}, 78, "set only one of STEM_NAMESPACE and STEM_WORKER_NAMESPACE"},
		{
			"no TLS", "",
			[]string{"STEM_DATABASE_URL=postgres://db.internal/shop?sslmode=disable"},
			78,
			"STEM_DATABASE_URL: sslmode=disable would send everything to db.internal in the clear; use sslmode=verify-full, or set STEM_TLS_ALLOW_INSECURE=true as well",
		},
		{"row 50", "lease: 15s\n", nil, 78, "lease (15s) must be more than twice heartbeat (10s)"},
		{
			"file: several", "concurency: 3\nnamespace: a b\nworker:\n  node: -x\n", nil, 78,
			"stem.yaml:1:1: unknown setting \"concurency\". Did you mean concurrency?\n" +
				"stem.yaml:2:1: namespace: names are 1-128 of letters, digits, _ . : / -; got \"a b\"\n" +
				"stem.yaml:4:3: worker.node: node name \"-x\": use letters, digits, . _ -",
		},
		{"file: a list", "- a\n", nil, 78, "stem.yaml:1:1: want key: value"},
		{"file: a map for a value", "lease: {a: b}\n", nil, 78, "stem.yaml:1:1: lease: want a single value"},
		{
			"file: a bad URL", "database_url: mysql://x\n", nil, 78,
			`stem.yaml:1:1: database_url: Stem uses Postgres only; got scheme "mysql". Example: postgres://user@host/db?sslmode=verify-full`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, tt.yaml, tt.environ...)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if got := fault.Exit(err); got != tt.exit {
				t.Errorf("exit %d, want %d", got, tt.exit)
			}
		})
	}
}

func TestBadYAMLNamesThePosition(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, "lease: 30s\n\tnamespace: x\n")
	if err == nil || !strings.HasPrefix(err.Error(), "stem.yaml:2:") {
		t.Errorf("got %v", err)
	}
	_, _, err = load(t, "lease: 30s\nlease: 40s\n")
	if err == nil || !strings.HasPrefix(err.Error(), "stem.yaml:2:1: ") {
		t.Errorf("a key given twice: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, "", "STEM_CONCURENCY=8", "STEM_LEASE=", "STEM_PREFETCH_MULTIPLIER=2", "STEMD_OPTS=x", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.Message)
	}
	want := []string{
		"unknown variable STEM_CONCURENCY. Did you mean STEM_CONCURRENCY?",
		"STEM_PREFETCH_MULTIPLIER has no effect: a worker claims as many jobs as it has free slots; use STEM_CONCURRENCY",
		"STEM_LEASE is set to nothing; taken as not set",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfLaterPartsAreKnown(t *testing.T) {
	t.Parallel()
	var environ []string
	for _, name := range config.Environment() {
		if strings.Contains(name, "WORKER_") && !strings.HasSuffix(name, "NODE") {
			environ = append(environ, name+"=x")
		}
	}
	_, warnings, err := load(t, "", environ...)
	if err != nil || len(warnings) > 0 {
		t.Error(err, warnings)
	}
}

// TestKeysAreLoaded: every mistake of a ring is a fault of its own, with the exit code of its kind; the rings say themselves which names of
// STEM_SIGNING_ and STEM_ENCRYPTION_ there are.
func TestKeysAreLoaded(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	c, _, err := load(t, "", "STEM_SIGNING_KEYS=v1:"+key, "STEM_SIGNING_ACTIVE_KEY=v1")
	if err != nil || c.Keys.Policy() != signing.Required || c.Keys.CanSign(signing.UseJob) != nil {
		t.Errorf("got %v, %v", c, err)
	}
	if c, _, err := load(t, "", "STEM_ENCRYPTION_KEYS=k1:"+key); err != nil || !c.Encryption.On() {
		t.Errorf("got %v, %v", c, err)
	}
	if c, _, err := load(t, ""); err != nil || c.Keys.Policy() != signing.Off || c.Encryption.On() {
		t.Errorf("without a variable: %v, %v", c, err)
	}
	open := write(t, filepath.Join(t.TempDir(), "keys"), "v1:"+key, 0o644)
	_, _, err = load(t, "", "STEM_SIGNING_KEYS_FILE="+open, "STEM_SIGNING_KEYZ=v1", "STEM_SIGNING_POLICY=on",
		"STEM_ENCRYPTION_KEYS=k1", "STEM_ENCRYPTION_KEY=k1")
	var got []string
	joined, _ := err.(interface{ Unwrap() []error })
	for _, problem := range joined.Unwrap() {
		f, _ := errors.AsType[*fault.Error](problem)
		got = append(got, strconv.Itoa(f.Exit)+" "+f.Code+" "+f.Message)
	}
	want := []string{
		"78 bad_signing unknown variable STEM_SIGNING_KEYZ. Did you mean STEM_SIGNING_KEYS?",
		"77 secret_readable STEM_SIGNING_KEYS_FILE: " + open + ": readable by others (0644); chmod 0600 or use LoadCredential",
		`78 bad_signing STEM_SIGNING_POLICY: want required, permissive or off, got "on"`,
		"78 bad_encryption unknown variable STEM_ENCRYPTION_KEY. Did you mean STEM_ENCRYPTION_KEYS?",
		"78 bad_encryption STEM_ENCRYPTION_KEYS entry 1: want id:base64",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const url = "postgres://app:s3cret@localhost/shop"
	good := write(t, filepath.Join(dir, "good"), url+"\n", 0o600)
	open := write(t, filepath.Join(dir, "open"), url, 0o644)
	empty := write(t, filepath.Join(dir, "empty"), "\n", 0o600)
	large := write(t, filepath.Join(dir, "large"), string(bytes.Repeat([]byte("x"), 64<<10+1)), 0o600)
	credentials := filepath.Join(dir, "credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(credentials, "database-url"), url, 0o444)

	for name, environ := range map[string][]string{
		"file": {"STEM_DATABASE_URL_FILE=" + good}, "credential": {"CREDENTIALS_DIRECTORY=" + credentials},
	} {
		cfg, _, err := load(t, "", environ...)
		if err != nil || cfg.Database.String() != "postgres://app:***@localhost/shop?sslmode=prefer" {
			t.Errorf("%s: %v, %v", name, cfg, err)
		}
	}
	tests := []struct {
		environ []string
		exit    int
		want    string
	}{
		{[]string{"STEM_DATABASE_URL_FILE=" + dir + "/none"}, 66, "STEM_DATABASE_URL_FILE: " + dir + "/none: no such file"},
		{[]string{"STEM_DATABASE_URL_FILE=" + dir}, 78, "STEM_DATABASE_URL_FILE: " + dir + ": is a directory"},
		{[]string{"STEM_DATABASE_URL_FILE=" + empty}, 78, "STEM_DATABASE_URL_FILE: " + empty + ": empty"},
		{[]string{"STEM_DATABASE_URL_FILE=" + large}, 78, "STEM_DATABASE_URL_FILE: " + large + ": larger than 64 KiB"},
		{
			[]string{"STEM_DATABASE_URL_FILE=" + open},
			77,
			"STEM_DATABASE_URL_FILE: " + open + ": readable by others (0644); chmod 0600 or use LoadCredential",
		},
		{
			[]string{"STEM_DATABASE_URL=" + url, "STEM_DATABASE_URL_FILE=" + good},
			78,
			"set only one of STEM_DATABASE_URL and STEM_DATABASE_URL_FILE",
		},
		{
			[]string{"STEM_DATABASE_URL=" + url, "CREDENTIALS_DIRECTORY=" + credentials},
			78,
			"set only one of STEM_DATABASE_URL and the credential database-url",
		},
	}
	for _, tt := range tests {
		_, _, err := load(t, "", tt.environ...)
		if err == nil || err.Error() != tt.want || fault.Exit(err) != tt.exit {
			t.Errorf("got %v (%d)\nwant %s (%d)", err, fault.Exit(err), tt.want, tt.exit)
		}
	}
}

func TestDatabaseFlag(t *testing.T) {
	t.Parallel()
	secret := write(t, filepath.Join(t.TempDir(), "url"), "postgres://app:s3cret@localhost/file", 0o600)
	for flag, want := range map[string]string{
		"env:MY_URL":                             "postgres://app:***@localhost/env?sslmode=prefer",
		"file:" + secret:                         "postgres://app:***@localhost/file?sslmode=prefer",
		"postgres://app@localhost/x":             "postgres://app@localhost/x?sslmode=prefer",
		"env:NONE":                               "--database-url: the variable NONE is not set",
		"postgres://app:s3cret@localhost/x":      "--database-url: every user of this machine can read a password on the command line",
		"postgres://localhost/x?password=s3cret": "--database-url: every user of this machine can read a password on the command line",
		"mysql://x":                              `--database-url: Stem uses Postgres only; got scheme "mysql". Example: postgres://user@host/db?sslmode=verify-full`,
	} {
		src := sources(t, "", "MY_URL=postgres://app:s3cret@localhost/env", "STEM_DATABASE_URL=postgres://localhost/lost")
		src.Database = flag
		cfg, _, err := config.Load(src)
		got := ""
		if err != nil {
			got = err.Error()
			if fault.Exit(err) != fault.ExitUsage {
				t.Errorf("%s: exit %d", flag, fault.Exit(err))
			}
		} else {
			got = cfg.Database.String()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", flag, got, want)
		}
	}
}

func TestRequireDatabase(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(t, "", "CREDENTIALS_DIRECTORY=/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	_, err = cfg.RequireDatabase()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Exit != fault.ExitConfig ||
		f.Message != "no database: set STEM_DATABASE_URL, STEM_DATABASE_URL_FILE or --database-url file:PATH" ||
		f.Hint != `$CREDENTIALS_DIRECTORY has no credential "database-url"; add LoadCredential=database-url:/etc/stem/database-url to the unit` {
		t.Errorf("got %#v", f)
	}
}

func FuzzStemYAML(f *testing.F) {
	f.Add("lease: 30s\nworker:\n  queues: [a]\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		_, _, err := load(t, yaml)
		if err != nil && fault.Exit(err) != fault.ExitConfig {
			t.Errorf("%q: %v", yaml, err)
		}
	})
}
