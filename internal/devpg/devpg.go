package devpg

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Oldest is the first major version of Postgres that Stem supports.
const Oldest = 14

// The rungs of the ladder, as [Server.Rung] tells them.
const (
	RungURL       = "url"       // a server that somebody else runs
	RungInstalled = "installed" // a private cluster of an installed Postgres
	RungCache     = "cache"     // a private cluster of a Postgres that ensure-postgres.sh fetched
	RungContainer = "container" // a server in a container
)

// Config says which Postgres is wanted. The zero value finds any supported version, starts a private cluster without
// fsync in the temporary directory, fetches nothing and says nothing.
type Config struct {
	// Getenv reads the environment; nil means os.Getenv.
	Getenv func(string) string
	// URLVar names the variable of the first rung, such as STEM_DATABASE_URL; empty skips that rung.
	URLVar string
	// Major is the one major version to accept; 0 accepts every supported one.
	Major int
	// Dir is where the private directory is made. The server's user must be able to walk to it, and it must be short,
	// for the socket's sake. Empty means os.TempDir, or /tmp where the server's user cannot enter that.
	Dir string
	// Durable keeps fsync on and the write-ahead log in segments of the usual size: for benchmarks and crash tests.
	// Without it the cluster survives a crash of the server, not one of the machine.
	Durable bool
	// Settings are further lines of postgresql.conf, which win over devpg's own.
	Settings map[string]string
	// Fetch permits running ensure-postgres.sh when nothing is found; STEM_PG_FETCH=never in the environment forbids it.
	Fetch bool
	// Container starts a server in a container and returns its URL and how to stop it; nil skips that rung.
	Container func(ctx context.Context) (url string, stop func(context.Context) error, err error)
	// Log hears in a sentence which rung was taken and what takes long; nil is silent.
	Log func(string)
}

// Server is a Postgres that answers. Its fields do not change; its methods may be called from several goroutines.
type Server struct {
	// URL leads to the maintenance database as the bootstrap superuser (on [RungURL]: whatever the environment says).
	URL string
	// CACert is the file with the certificate authority that signed the server's certificate; empty if there is none.
	CACert string
	// Rung is the rung that was taken.
	Rung string
	// Version is the server's version, such as 15.18, and Major its first number.
	Version string
	Major   int
	// BinDir holds the server's programs, Dir is the private directory and LogFile what the server prints. All three
	// are empty, and Port is zero, unless the cluster is private.
	BinDir  string
	Dir     string
	LogFile string
	Port    int

	address *url.URL
	stop    func(context.Context) error // the container's

	mu      sync.Mutex // guards process
	cluster *cluster   // nil unless private
	process *process   // the postmaster; nil while it is down
}

// Start returns a Postgres that accepts connections, from the first rung of the ladder that holds. A server that the
// environment asks for by name (the URL, STEM_PG_BIN) is used or the error says why not: a mistake there must not end
// in another database. When nothing is found the error is a [*NotFoundError]. A private cluster lives until Stop or
// until this process ends; ctx bounds the start only.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.Getenv == nil {
		config.Getenv = os.Getenv
	}
	if config.Log == nil {
		config.Log = func(string) {}
	}
	l := ladder{Config: config, places: usualPlaces}
	server, err := l.climb(ctx)
	if err != nil {
		return nil, fmt.Errorf("devpg: %w", err)
	}
	config.Log(server.describe())
	return server, nil
}

// URLFor returns URL with another database and user; an empty argument keeps what URL has. The password stays the
// same: create roles with it if they are to log in this way.
func (s *Server) URLFor(database, user string) string {
	u := *s.address
	if database != "" {
		u.Path, u.RawPath = "/"+database, ""
	}
	if user != "" {
		u.User = url.User(user)
		if password, ok := s.address.User.Password(); ok {
			u.User = url.UserPassword(user, password)
		}
	}
	return u.String()
}

func (s *Server) describe() string {
	switch s.Rung {
	case RungURL:
		return fmt.Sprintf("using Postgres %s at %s", s.Version, s.address.Host)
	case RungContainer:
		return fmt.Sprintf("started Postgres %s in a container, at %s", s.Version, s.address.Host)
	default:
		return fmt.Sprintf("started Postgres %s (%s) from %s on port %d", s.Version, s.Rung, s.BinDir, s.Port)
	}
}

// external makes a Server of one that runs already.
func external(ctx context.Context, rung, address string, major int) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, fmt.Errorf("not a URL of the form postgres://user:password@host:port/database")
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s := &Server{
		URL: address, Rung: rung, address: u, CACert: u.Query().Get("sslrootcert"),
		Version: firstWord(conn.PgConn().ParameterStatus("server_version")),
	}
	s.Major = majorOf(s.Version)
	if err := acceptable(s.Major, major); err != nil {
		return nil, fmt.Errorf("the server there is Postgres %s: %w", s.Version, err)
	}
	return s, nil
}

// acceptable says whether a server of major version got will do.
func acceptable(got, want int) error {
	if got < Oldest {
		return fmt.Errorf("too old, Stem needs %d or newer", Oldest)
	}
	if want != 0 && got != want {
		return fmt.Errorf("not the major version %d that was asked for", want)
	}
	return nil
}

// majorOf reads the number that a version begins with: 15.18, 18beta1, 17devel. It returns 0 if there is none.
func majorOf(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return n
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
