package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

// canary is something that must not come out, in every form in which it could.
type canary struct {
	name  string
	forms []string
}

// keyCanary is a key as it is configured, in base64 of either kind, and as bytes.
func keyCanary(name string, key []byte) canary {
	return canary{name, []string{
		string(key), hex.EncodeToString(key), base64.RawStdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	}}
}

func (c canary) in(text []byte) bool {
	return slices.ContainsFunc(c.forms, func(form string) bool { return bytes.Contains(text, []byte(form)) })
}

// aviary is one database, the secrets that are used on it, and everything that came out.
type aviary struct {
	t        *testing.T
	url      string // of a login with a password
	owner    *pgxpool.Pool
	dir      string
	signing  string // base64
	private  string
	public   string
	sealing  string
	password string
	payload  canary
	secrets  []canary

	mu     sync.Mutex
	out    map[string][]byte // by where it came from
	looked int               // at so many command lines of other processes
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func newAviary(t *testing.T) *aviary {
	t.Helper()
	database := pgtest.Database(t)
	a := &aviary{t: t, url: pgtest.Login(t, database), owner: pgtest.Open(t, database), dir: t.TempDir(), out: map[string][]byte{}}
	sign, seal := random(32), random(32)
	private := ed25519.NewKeyFromSeed(random(ed25519.SeedSize))
	u, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	a.password, _ = u.User.Password()
	a.signing, a.sealing = base64.StdEncoding.EncodeToString(sign), base64.StdEncoding.EncodeToString(seal)
	a.private = base64.StdEncoding.EncodeToString(private.Seed())
	a.public = base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey)) //nolint:errcheck,forcetypeassert // it is one
	text := "payload-" + hex.EncodeToString(random(8))
	a.payload = canary{"payload", []string{text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text))}}
	a.secrets = []canary{
		keyCanary("signing key", sign), keyCanary("private key", private.Seed()), keyCanary("encryption key", seal), {"database password", []string{a.password}},
	}
	return a
}

func (a *aviary) file(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// noted keeps what came out of something.
func (a *aviary) noted(from string, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out[from] = append(a.out[from], b...)
}

type sink struct {
	a    *aviary
	from string
}

func (s sink) Write(b []byte) (int, error) {
	s.a.noted(s.from, b)
	return len(b), nil
}

// keys is an environment with both kinds of keys.
func (a *aviary) keys() map[string]string {
	return map[string]string{"STEM_SIGNING_KEYS": "v1:" + a.signing, "STEM_SIGNING_ACTIVE_KEY": "v1", "STEM_ENCRYPTION_KEYS": "k1:" + a.sealing}
}

func (a *aviary) command(env map[string]string, args ...string) *exec.Cmd {
	cmd := stemCommand(a.t, a.url, args...)
	cmd.Dir = a.dir
	cmd.Env = append(cmd.Env, "HOME="+a.dir)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// run runs a command to its end, and keeps what it printed. Where a payload may be read, what is on stdout is looked at for keys only.
func (a *aviary) run(env map[string]string, args ...string) (stdout string, code int) {
	a.t.Helper()
	cmd := a.command(env, args...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	_ = cmd.Run() // the code says it
	shows := slices.ContainsFunc([]string{"job show", "dlq show", "dlq export", "job wait", "schedule show"}, func(c string) bool {
		return strings.HasPrefix(strings.Join(args, " "), c)
	})
	from := "stem " + strings.Join(args, " ")
	if shows {
		a.noted("shown: "+from, out.Bytes())
	} else {
		a.noted(from, out.Bytes())
	}
	a.noted(from, errors.Bytes())
	return strings.TrimSpace(out.String()), cmd.ProcessState.ExitCode()
}

// worker runs a worker until the returned function has sent it the signal.
func (a *aviary) worker(env map[string]string, node string) (stop func(syscall.Signal)) {
	a.t.Helper()
	return a.daemon(env, "worker", "run", "-v", "--tasks-file", "tasks.yaml", "--node", node)
}

// standing applies a schedule that is due each second.
func (a *aviary) standing(env map[string]string, id, task, payload string) {
	a.t.Helper()
	text, err := os.ReadFile(payload)
	if err != nil {
		a.t.Fatal(err)
	}
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	e := scheduler.Entry{ID: id, Spec: "every:1s", Job: queue.Raw(task, text, "")}
	if err := applySchedule(a.t.Context(), a.owner.Config().ConnString(), environ, e); err != nil {
		a.t.Fatal(err)
	}
}

func (a *aviary) daemon(env map[string]string, args ...string) (stop func(syscall.Signal)) {
	a.t.Helper()
	cmd, from := a.command(env, args...), strings.Join(args, " ")
	cmd.Stdout, cmd.Stderr = sink{a, from}, sink{a, from}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	var once sync.Once
	stop = func(s syscall.Signal) {
		once.Do(func() {
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				a.t.Error(err)
			}
			<-ended
		})
	}
	a.t.Cleanup(func() { stop(syscall.SIGKILL) })
	return stop
}

func (a *aviary) until(query string, args ...any) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 3*time.Minute)
	defer cancel()
	for done := false; !done; {
		if err := a.owner.QueryRow(ctx, query, args...).Scan(&done); err != nil {
			a.t.Fatalf("%s: %v", query, err)
		}
		if !done {
			<-time.After(10 * time.Millisecond)
		}
	}
}

// commandLines keeps the command line of every process, again and again until the returned function is called.
func (a *aviary) commandLines() (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
			for _, name := range files {
				if line, err := os.ReadFile(name); err == nil { // it may have ended
					a.mu.Lock()
					a.looked++
					a.mu.Unlock()
					if i := slices.IndexFunc(append(a.secrets, a.payload), func(c canary) bool { return c.in(line) }); i >= 0 {
						a.noted("argv", line)
					}
				}
			}
			<-time.After(5 * time.Millisecond)
		}
	})
	return func() { cancel(); looking.Wait() }
}

// search reports every canary in what came out.
func (a *aviary) search() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, from := range slices.Sorted(maps.Keys(a.out)) {
		for _, c := range a.secrets {
			if c.in(a.out[from]) {
				a.t.Errorf("the %s came out of %s:\n%s", c.name, from, a.out[from])
			}
		}
		if a.payload.in(a.out[from]) && !strings.HasPrefix(from, "shown: ") {
			a.t.Errorf("the payload came out of %s:\n%s", from, a.out[from])
		}
	}
}

// searchTables reports every canary in a column of any table; the payload may be in those that are its place.
func (a *aviary) searchTables(payloads ...string) {
	a.t.Helper()
	rows, err := a.owner.Query(a.t.Context(), `select c.relname || '.' || a.attname from pg_class c
		join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
		where n.nspname = 'stem' and c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped`)
	if err != nil {
		a.t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(columns) < 100 {
		a.t.Fatalf("%d columns, %v", len(columns), err)
	}
	seen := map[string]bool{}
	for _, column := range columns {
		table, name, _ := strings.Cut(column, ".")
		for _, c := range append(slices.Clone(a.secrets), a.payload) {
			var patterns []string
			for _, form := range c.forms {
				if strings.ToValidUTF8(form, "") == form && !strings.Contains(form, "\x00") {
					patterns = append(patterns, "%"+strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(form)+"%")
				}
			}
			var n int
			query := fmt.Sprintf("select count(*) from stem.%s where %s::text like any ($1)", pgx.Identifier{table}.Sanitize(), pgx.Identifier{name}.Sanitize())
			if err := a.owner.QueryRow(a.t.Context(), query, patterns).Scan(&n); err != nil {
				a.t.Fatalf("%s: %v", column, err)
			}
			if n > 0 && (c.name != "payload" || !slices.Contains(payloads, column)) {
				a.t.Errorf("the %s is in %d rows of %s", c.name, n, column)
			}
			seen[column] = seen[column] || n > 0
		}
	}
	for _, column := range payloads {
		if !seen[column] {
			a.t.Errorf("the payload is not in %s: the search sees nothing", column)
		}
	}
}
