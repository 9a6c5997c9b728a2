package main

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/pgtest"
)

// canaryTasks: spy writes down what a command can see, echo gives its payload as the result, refuse is a dead letter.
const canaryTasks = `tasks:
  spy:
    command: [sh, -c, "env >> seen; cat /proc/self/cmdline /proc/$PPID/cmdline >> seen; cat > /dev/null"]
  quiet:
    command: [sh, -c, "cat > /dev/null; echo 1"]
  refuse:
    command: [sh, -c, "cat > /dev/null; echo not like this >&2; exit 65"]
`

// TestCanary: keys, a password and a payload go through everything that the command does, right and wrong. None comes out: not on stdout or
// stderr, in logs and dumps, in tables other than as a payload, in the server's log, in the arguments of any process or in the environment of
// tasks.
func TestCanary(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	a := newAviary(t)
	a.file("tasks.yaml", canaryTasks)
	payload := a.file("payload", `{"secret":"`+a.payload.forms[0]+`"}`)
	stopLooking := a.commandLines()

	// Without encryption: the payload is in its columns and where it is shown.
	plain := a.keys()
	delete(plain, "STEM_ENCRYPTION_KEYS")
	a.work(plain, "plain", payload, syscall.SIGQUIT)
	a.searchTables("jobs.payload", "dead.payload", "schedules.payload")
	if _, err := a.owner.Exec(t.Context(), "truncate stem.jobs, stem.dead, stem.finished, stem.attempts, stem.schedules"); err != nil {
		t.Fatal(err)
	}
	// With it, in no table at all.
	a.work(a.keys(), "sealed", payload, syscall.SIGTERM)
	a.searchTables()
	// Ed25519, and keys in files.
	files := map[string]string{
		"STEM_SIGNING_ALGORITHM": "ed25519", "STEM_SIGNING_PUBLIC_KEYS": "e1:" + a.public, "STEM_SIGNING_ACTIVE_KEY": "e1",
		"STEM_SIGNING_PRIVATE_KEYS_FILE": a.file("private", "e1:"+a.private), "STEM_ENCRYPTION_KEYS_FILE": a.file("sealing", "k1:"+a.sealing),
	}
	a.work(files, "files", payload, syscall.SIGINT)
	a.searchTables()
	stopLooking()
	if a.looked == 0 && runtime.GOOS == "linux" {
		t.Error("no command line was looked at")
	}

	a.mistakes()
	if log, err := os.ReadFile(pgtest.Server(t).LogFile); err == nil {
		a.noted("the server's log", log)
	}
	seen, err := os.ReadFile(filepath.Join(a.dir, "seen"))
	if err != nil || !bytes.Contains(seen, []byte("STEM_JOB_ID=")) {
		t.Errorf("what tasks see: %v", err)
	}
	a.noted("a task", seen)
	a.search()

	// And the search finds what is there.
	for _, c := range append(slices.Clone(a.secrets), a.payload) {
		for _, form := range c.forms {
			if !c.in([]byte("x" + form + "y")) {
				t.Errorf("%s is not found", c.name)
			}
		}
	}
	shown := false
	for from, out := range a.out {
		shown = shown || strings.HasPrefix(from, "shown: ") && a.payload.in(out)
	}
	if !shown {
		t.Error("nobody was shown a payload")
	}
}

// work goes through the life of jobs with a worker, and looks at them in every way.
func (a *aviary) work(env map[string]string, node, payload string, end syscall.Signal) {
	a.t.Helper()
	stop := a.worker(env, node)
	a.standing(env, node, "quiet", payload)
	a.standing(env, node+"-changed", "quiet", payload)
	if _, err := a.owner.Exec(a.t.Context(), "update stem.schedules set priority = 9 where id = $1", node+"-changed"); err != nil {
		a.t.Fatal(err)
	}
	stopScheduler := a.daemon(env, "scheduler", "run", "-v", "--node", node)
	a.until("select fired > 0 from stem.schedules where id = $1", node)
	a.until("select refused is not null from stem.schedules where id = $1", node+"-changed")
	a.run(env, "enqueue", "spy", "--args", "@"+payload, "--wait=3m")
	a.run(env, "enqueue", "quiet", "--args", "@"+payload, "--wait=3m", "--json", "-v")
	dead, _ := a.run(env, "enqueue", "refuse", "--args", "@"+payload, "-o", "name")
	ready, _ := a.run(env, "enqueue", "nobody", "--args", "@"+payload, "--queue", "other", "-o", "name")
	a.run(env, "enqueue", "quiet", "--args", "@"+payload, "--delay", "1h")
	a.until("select exists (select from stem.dead where id = $1)", uuid.MustParse(dead))
	// Somebody changes a row: the refusal tells neither what was there nor what is.
	if _, err := a.owner.Exec(a.t.Context(), "update stem.jobs set priority = 9 where id = $1", uuid.MustParse(ready)); err != nil {
		a.t.Fatal(err)
	}
	for _, line := range []string{
		"config show", "config show --json", "config show -o csv", "version", "help environment", "tasks ls -o wide", "queue ls --json", "job ls -o wide",
		"job ls --json", "job show " + dead, "job show --json " + ready, "job errors --json " + dead, "job wait " + dead, "dlq list -o wide", "dlq list --json",
		"dlq show " + dead, "dlq show -o yaml " + dead, "dlq export", "signing status", "signing status --json", "signing status --key v9", "signing usage --json",
		"signing verify -o wide", "signing verify --json --id " + ready, "signing verify --dead", "dlq replay --all --dry-run", "dlq replay " + dead + " --queue mail --yes -v",
		"dlq resign --reviewed --all --yes", "job retry " + dead, "job cancel --queue other --yes --json", "dlq purge --all --yes", "migrate status", "worker run --help",
		"health --json -v", "doctor", "doctor tls", "roles check", "schedule list -o wide", "schedule list --json", "schedule show " + node,
		"schedule show --json " + node + "-changed", "schedule history -o wide", "schedule history --json " + node, "observe schedules --json",
		"schedule trigger -v " + node, "schedule trigger --json " + node + "-changed", "schedule disable " + node, "schedule enable " + node,
		"schedule backfill --from 1h --dry-run " + node, "schedule resign --all --yes", "schedule resign --all --reviewed --yes",
		"schedule delete --dry-run " + node, "schedule show none",
	} {
		a.run(env, strings.Fields(line)...)
	}
	a.run(env, "enqueue", "refuse", "--args", "@"+payload)
	a.until("select exists (select from stem.dead)")
	stop(end)
	stopScheduler(end)
}

// mistakes makes those that quote what they are about, or could.
func (a *aviary) mistakes() {
	a.t.Helper()
	u, err := url.Parse(a.url)
	if err != nil {
		a.t.Fatal(err)
	}
	host, secret := u.Host, a.password
	raw := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(a.signing), "=") // what may be taken for an id
	for name, env := range map[string]map[string]string{
		"the database is not there":   {"STEM_DATABASE_URL": "postgres://app:" + secret + "@127.0.0.1:1/shop"},
		"the login is refused":        {"STEM_DATABASE_URL": "postgres://nobody:" + secret + "@" + host + "/postgres"},
		"no such database":            {"STEM_DATABASE_URL": strings.Replace(a.url, u.Path, "/nowhere", 1)},
		"a password with a slash":     {"STEM_DATABASE_URL": "postgres://app:" + secret + "/x@" + host + "/shop"},
		"a password with an at":       {"STEM_DATABASE_URL": "postgres://app:" + secret + "@x@" + host + "/shop"},
		"a parameter of no name":      {"STEM_DATABASE_URL": a.url + "?passwort=" + secret},
		"another scheme":              {"STEM_DATABASE_URL": "redis://:" + secret + "@" + host},
		"key without an id":           {"STEM_SIGNING_KEYS": a.signing},
		"key and id swapped":          {"STEM_SIGNING_KEYS": a.signing + ":v1"},
		"key twice":                   {"STEM_SIGNING_KEYS": "v1:" + a.signing + ",v1:" + a.signing},
		"keys alike":                  {"STEM_SIGNING_KEYS": "v1:" + a.signing + ",v2:" + a.signing},
		"key cut":                     {"STEM_SIGNING_KEYS": "v1:" + a.signing[:40]},
		"key with a blank":            {"STEM_SIGNING_KEYS": "v1:" + a.signing[:20] + " " + a.signing[20:]},
		"active is the key":           {"STEM_SIGNING_KEYS": "v1:" + a.signing, "STEM_SIGNING_ACTIVE_KEY": a.signing},
		"active is the key, safe":     {"STEM_SIGNING_KEYS": "v1:" + a.signing, "STEM_SIGNING_ACTIVE_KEY": raw},
		"policy is the key":           {"STEM_SIGNING_KEYS": "v1:" + a.signing, "STEM_SIGNING_POLICY": a.signing},
		"private key of another":      {"STEM_SIGNING_ALGORITHM": "ed25519", "STEM_SIGNING_PUBLIC_KEYS": "e1:" + a.private, "STEM_SIGNING_PRIVATE_KEYS": "e1:" + a.private},
		"private key under HMAC":      {"STEM_SIGNING_PRIVATE_KEYS": "e1:" + a.private},
		"sealing with the signer":     {"STEM_SIGNING_KEYS": "v1:" + a.signing, "STEM_ENCRYPTION_KEYS": "k1:" + a.signing},
		"sealing without an id":       {"STEM_ENCRYPTION_KEYS": a.sealing},
		"sealing, misspelt":           {"STEM_ENCRYPTION_KEY": "k1:" + a.sealing},
		"a key file that is no JSON":  {"STEM_SIGNING_KEYS_FILE": a.file("broken.json", `{"keys":[{"id":"v1","secret":"`+a.signing+`"`)},
		"a key file of another form":  {"STEM_SIGNING_KEYS_FILE": a.file("odd.json", `{"keys":[{"id":"`+raw+`","alg":"`+a.signing+`","`+a.signing+`":1}]}`)},
		"a key file that anyone sees": {"STEM_SIGNING_KEYS_FILE": a.exposed("v1:" + a.signing)},
		"a key in stem.yaml":          {"XDG_CONFIG_HOME": a.yaml("signing_keys: v1:" + a.signing + "\n")},
		"a password in stem.yaml":     {"XDG_CONFIG_HOME": a.yaml("database_url: postgres://app:" + secret + "@" + host + "/shop\nlease: [\n")},
	} {
		for _, command := range []string{"queue ls -v", "enqueue quiet --json", "signing status", "config show", "worker run --poll-only", "health", "doctor tls"} {
			if _, code := a.run(env, strings.Fields(command)...); code == 0 && command == "queue ls -v" {
				a.t.Errorf("%s is no mistake of %s", name, command)
			}
		}
	}
	good := a.keys()
	bad := a.file("bad", `{"secret": `+a.payload.forms[0]+`}`)
	large := a.file("large", `{"secret": "`+strings.Repeat(a.payload.forms[0], 1<<17)+`"}`)
	for _, args := range [][]string{
		{"enqueue", "quiet", "--args", "@" + bad},
		{"enqueue", "quiet", "--args", "@" + large, "--json"},
		{"enqueue", "quiet", "--args", a.payload.forms[0]},
		{"--database-url", a.url, "queue", "ls"},
		{"signing", "keygen", "--id", "v1:" + a.signing},
		{"signing", "status", "--key", a.signing},
		{"signing", "status", "--key", raw},
		{"dlq", "resign", "--reviewed", "--key", a.signing},
		{"dlq", "replay", uuid.NewString(), "--payload", "@" + bad, "--yes"},
	} {
		from := "stem " + args[0] + " with a mistake on its own command line"
		cmd := a.command(good, args...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			a.t.Errorf("%s is no mistake: %s", from, out)
		}
		a.noted(from, out)
	}
}

func (a *aviary) exposed(text string) string {
	path := a.file("exposed", text)
	if err := os.Chmod(path, 0o644); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// yaml makes a directory with a settings file.
func (a *aviary) yaml(text string) string {
	dir := a.t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "stem"), 0o700); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stem", "stem.yaml"), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return dir
}
