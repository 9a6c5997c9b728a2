package pgtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/devpg"
)

// MainWithExamples is [Main] for a package whose examples need a database. An example cannot skip itself: without a
// server, and where none is required, all examples are left out and a line says so.
func MainWithExamples(m *testing.M) {
	flag.Parse()
	if err := startShared(); err != nil {
		if _, missing := errors.AsType[*devpg.NotFoundError](err); !missing || required() {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			os.Exit(1) //nolint:forbidigo // TestMain is the main of a test binary
		}
		skip := flag.Lookup("test.skip").Value
		pattern := "^Example"
		if already := skip.String(); already != "" {
			pattern = already + "|" + pattern
		}
		if err := skip.Set(pattern); err != nil {
			panic(err) // the flag takes any text
		}
		fmt.Fprintf(os.Stderr, "NOT RUN: examples: %v\n", err)
	}
	Main(m)
}

// Example returns a pool on a database of its own for an example, and what closes and drops it. The pool's login is a member of all
// roles and may make tables in schema public, as that of a program which does everything. It panics where [Database] would fail the
// test: call it in packages with [MainWithExamples].
func Example(name string) (pool *pgxpool.Pool, end func()) {
	if err := startShared(); err != nil {
		panic(err)
	}
	database, err := create(shared.server, "example_"+name)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	owner := shared.server.URLFor(database, "")
	role, address, err := newLogin(ctx, owner, nil)
	if err == nil {
		err = do(ctx, owner, "grant create on schema public to "+role)
	}
	if err == nil {
		pool, err = pgxpool.New(ctx, address)
	}
	if err != nil {
		panic(err)
	}
	return pool, func() {
		pool.Close()
		if err := errors.Join(drop(shared.server, database), admin(shared.server, "drop role "+role)); err != nil {
			panic(err)
		}
	}
}
