package devpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	dev "github.com/stemqueue/stem/scripts/dev"
)

// usualPlaces are where distributions put a server's programs without putting them on PATH.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // the packages of the PostgreSQL project for Fedora and RHEL
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

// ladder is one climb: the wish, where to look, and what did not hold.
type ladder struct {
	Config
	places  []string
	account account
	tried   []Attempt
}

// binaries is a directory with the programs of one server.
type binaries struct {
	dir     string
	version string
	major   int
}

func (l *ladder) climb(ctx context.Context) (*Server, error) {
	if l.URLVar != "" {
		if address := l.Getenv(l.URLVar); address != "" {
			server, err := external(ctx, RungURL, address, l.Major)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.URLVar, err)
			}
			return server, nil
		}
		l.failed(l.URLVar, "not set")
	}
	var err error
	if l.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if dir := l.Getenv("STEM_PG_BIN"); dir != "" {
		found, err := l.inspect(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("STEM_PG_BIN: %w", err)
		}
		return startCluster(ctx, l.Config, l.account, RungInstalled, found)
	}
	l.failed("STEM_PG_BIN", "not set")
	if found, ok := l.installed(ctx); ok {
		return startCluster(ctx, l.Config, l.account, RungInstalled, found)
	}
	if found, ok := l.cached(ctx); ok {
		return startCluster(ctx, l.Config, l.account, RungCache, found)
	}
	if found, ok := l.fetched(ctx); ok {
		return startCluster(ctx, l.Config, l.account, RungCache, found)
	}
	if server, ok := l.container(ctx); ok {
		return server, nil
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err // what was tried failed for that reason, and not for what it says
	}
	return nil, &NotFoundError{Major: l.Major, Tried: l.tried, Fix: l.fix()}
}

func (l *ladder) failed(rung, why string) {
	l.tried = append(l.tried, Attempt{Rung: rung, Why: why})
}

// installed looks on PATH and in the usual places.
func (l *ladder) installed(ctx context.Context) (binaries, bool) {
	var dirs []string
	if config := l.lookPath("pg_config"); config != "" {
		if out, err := run(ctx, l.account.command(l.Getenv, config, "--bindir")); err == nil {
			dirs = append(dirs, strings.TrimSpace(out))
		}
	}
	if server := l.lookPath("postgres"); server != "" {
		dirs = append(dirs, filepath.Dir(server))
	}
	if found, ok := l.first(ctx, "PATH", "no pg_config and no postgres", dirs); ok {
		return found, true
	}
	var usual []string
	for _, pattern := range l.places {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // a malformed pattern above
		}
		usual = append(usual, matches...)
	}
	newestFirst(usual)
	return l.first(ctx, "usual places", "no "+strings.Join(l.places, ", no "), usual)
}

// cached looks where ensure-postgres.sh puts what it fetches.
func (l *ladder) cached(ctx context.Context) (binaries, bool) {
	cache, err := l.cacheDir()
	if err != nil {
		l.failed("cache", err.Error())
		return binaries{}, false
	}
	pattern := filepath.Join(cache, "pg", "[1-9]*", "bin")
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		l.failed("cache", fmt.Sprintf("%s: %v", cache, err))
		return binaries{}, false
	}
	newestFirst(dirs)
	return l.first(ctx, "cache", "no "+pattern, dirs)
}

// fetched runs the embedded script, which fills the cache or installs the distribution's package.
func (l *ladder) fetched(ctx context.Context) (binaries, bool) {
	const rung = "ensure-postgres.sh"
	switch {
	case l.Getenv("STEM_PG_FETCH") == "never":
		l.failed(rung, "forbidden by STEM_PG_FETCH=never")
		return binaries{}, false
	case !l.Fetch:
		l.failed(rung, "not run from here")
		return binaries{}, false
	}
	bash := l.lookPath("bash")
	if bash == "" {
		l.failed(rung, "needs bash, which is not on PATH")
		return binaries{}, false
	}
	l.Log("no Postgres found: running the embedded scripts/dev/ensure-postgres.sh (STEM_PG_FETCH=never forbids that)")
	args := []string{"-c", dev.EnsurePostgres, rung, "--print-bin"}
	if l.Major != 0 {
		args = append(args, "--major", strconv.Itoa(l.Major))
	}
	cmd := command(bash, args...)
	cmd.Env = os.Environ() // for proxies and npm's own settings
	if cache, err := l.cacheDir(); err == nil {
		cmd.Env = append(cmd.Env, "STEM_PG_CACHE="+cache)
	}
	said := &lines{each: l.Log}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, said
	if err := runToEnd(ctx, cmd, syscall.SIGTERM); err != nil {
		l.failed(rung, fmt.Sprintf("%v: %s", err, said.last))
		return binaries{}, false
	}
	return l.first(ctx, rung, "it printed no directory", strings.Fields(out.String()))
}

// container asks the caller's engine.
func (l *ladder) container(ctx context.Context) (*Server, bool) {
	if l.Container == nil {
		return nil, false
	}
	address, stop, err := l.Container(ctx)
	if err != nil {
		l.failed("container", oneLine(err.Error()))
		return nil, false
	}
	server, err := external(ctx, RungContainer, address, l.Major)
	if err != nil {
		l.failed("container", oneLine(errors.Join(err, stop(context.WithoutCancel(ctx))).Error()))
		return nil, false
	}
	server.stop = stop
	return server, true
}

// first returns the first of dirs that will do; otherwise it notes why none did, or that there are none.
func (l *ladder) first(ctx context.Context, rung, none string, dirs []string) (binaries, bool) {
	var reasons []string
	for _, dir := range dirs {
		found, err := l.inspect(ctx, dir)
		if err == nil {
			return found, true
		}
		if reason := oneLine(err.Error()); !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		reasons = append(reasons, none)
	}
	l.failed(rung, strings.Join(reasons, "; "))
	return binaries{}, false
}

// inspect looks at a directory of programs. It follows symbolic links, because /usr/local/bin/postgres is often one
// and initdb may not stand beside it, and it runs the server as the user that will own it, who may not get there.
func (l *ladder) inspect(ctx context.Context, dir string) (binaries, error) {
	server, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return binaries{}, fmt.Errorf("%s holds no postgres", dir)
	}
	dir = filepath.Dir(server)
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, fmt.Errorf("%s holds no initdb", dir)
	}
	out, err := run(ctx, l.account.command(l.Getenv, server, "--version"))
	if err != nil {
		return binaries{}, fmt.Errorf("%s does not run: %w", server, err)
	}
	// postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
	_, version, _ := strings.Cut(out, ") ")
	found := binaries{dir: dir, version: firstWord(strings.TrimSpace(version))}
	found.major = majorOf(found.version)
	if err := acceptable(found.major, l.Major); err != nil {
		return binaries{}, fmt.Errorf("%s is Postgres %s: %w", dir, found.version, err)
	}
	return found, nil
}

// cacheDir is the same directory that ensure-postgres.sh takes.
func (l *ladder) cacheDir() (string, error) {
	if dir := l.Getenv("STEM_PG_CACHE"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/stem", nil // the server's user could not enter a cache in root's home
	}
	if dir := l.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "stem"), nil
	}
	home := l.Getenv("HOME")
	if home == "" {
		return "", errors.New("neither STEM_PG_CACHE nor HOME is set")
	}
	return filepath.Join(home, ".cache", "stem"), nil
}

// lookPath is exec.LookPath on the PATH of l.Getenv; it returns "" if there is no such program.
func (l *ladder) lookPath(name string) string {
	for _, dir := range filepath.SplitList(l.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// newestFirst sorts paths by the major version in them, so that 18 comes before 9.6 and 15.
func newestFirst(paths []string) {
	slices.SortStableFunc(paths, func(a, b string) int { return pathMajor(b) - pathMajor(a) })
}

// pathMajor is the first number in the last element that holds one: 18 in /usr/local/opt/postgresql@18/bin.
func pathMajor(path string) int {
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		name := filepath.Base(path)
		if i := strings.IndexAny(name, "123456789"); i >= 0 {
			return majorOf(name[i:])
		}
	}
	return 0
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
