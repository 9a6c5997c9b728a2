package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/devpg"
)

// serverSettings are those of the machine that shared figures come from. Nothing here trades durability for speed.
var serverSettings = map[string]string{
	"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica",
	"shared_buffers": "1GB", "max_connections": "300",
	// No checkpoint falls into a timed section, each of which begins after one: the full page images that it costs would go to
	// whoever is at work just then. (River writes 5 GB in a cycle of a minute.)
	"max_wal_size": "16GB", "checkpoint_timeout": "30min",
}

// size is how much a scenario does.
type size int

const (
	full  size = iota
	quick      // the same in a minute, for a first look
	smoke      // as little as shows that a scenario still runs; its figures mean nothing
)

// lab is the private server and what every run needs.
type lab struct {
	server *devpg.Server
	size   size
	say    func(format string, args ...any)
}

// openLab starts the server.
func openLab(ctx context.Context, say func(string, ...any)) (*lab, error) {
	server, err := devpg.Start(ctx, devpg.Config{Durable: true, Settings: serverSettings, Fetch: true, Log: func(s string) { say("%s", s) }})
	if err != nil {
		return nil, err
	}
	return &lab{server: server, say: say}, nil
}

func (l *lab) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return l.server.Stop(ctx)
}

// url leads to a database through the socket: TLS would cost both systems the same and hide the difference.
func (l *lab) url(database string) string {
	u, err := url.Parse(l.server.URLFor(database, ""))
	if err != nil {
		panic(err) // devpg made it
	}
	u.Host = ""
	u.RawQuery = url.Values{"host": {filepath.Join(l.server.Dir, "s")}, "port": {strconv.Itoa(l.server.Port)}}.Encode()
	return u.String()
}

// database makes an empty database, in the place of one of that name.
func (l *lab) database(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, l.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	quoted := pgx.Identifier{name}.Sanitize()
	_, dropped := conn.Exec(ctx, "drop database if exists "+quoted+" with (force)")
	_, made := conn.Exec(ctx, "create database "+quoted)
	return errors.Join(dropped, made)
}

func (l *lab) pool(ctx context.Context, database string, conns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(l.url(database))
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, config)
}

// count chooses between the sizes.
func (l *lab) count(full, quick, smoke int) int {
	return [...]int{full, quick, smoke}[l.size]
}

func (l *lab) span(full, quick, smoke time.Duration) time.Duration {
	return [...]time.Duration{full, quick, smoke}[l.size]
}

// waitFor asks again every two milliseconds until the condition holds or limit is over.
func waitFor(ctx context.Context, what string, limit time.Duration, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %v", what, limit))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := condition()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func stderr(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
