package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// gauge reads what a timed section costs.
type gauge struct {
	at            time.Time
	server        time.Duration // CPU of the server's processes
	client        time.Duration // CPU of this process
	wal           int64
	postmaster    int
	pool          *pgxpool.Pool
	elapsed       time.Duration
	serverElapsed time.Duration
	clientElapsed time.Duration
	walElapsed    int64
}

func (l *lab) gauge(ctx context.Context, pool *pgxpool.Pool) (*gauge, error) {
	g := &gauge{postmaster: l.server.PID(), pool: pool}
	var err error
	if g.wal, err = walPosition(ctx, pool); err != nil {
		return nil, err
	}
	if g.server, err = treeCPU("/proc", g.postmaster); err != nil {
		return nil, err
	}
	g.client, g.at = clientCPU(), time.Now()
	return g, nil
}

// stop ends the timed section.
func (g *gauge) stop(ctx context.Context) error {
	g.elapsed = time.Since(g.at)
	g.clientElapsed = clientCPU() - g.client
	server, err := treeCPU("/proc", g.postmaster)
	if err != nil {
		return err
	}
	g.serverElapsed = server - g.server
	wal, err := walPosition(ctx, g.pool)
	g.walElapsed = wal - g.wal
	return err
}

// sample divides the section by the jobs that it did.
func (g *gauge) sample(ctx context.Context, jobs int) (sample, error) {
	dead, err := query1[int64](ctx, g.pool, "select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables")
	n := float64(max(jobs, 1))
	return sample{Value: float64(jobs) / g.elapsed.Seconds(), Metrics: map[string]float64{
		"pg_us_per_job":     float64(g.serverElapsed.Microseconds()) / n,
		"client_us_per_job": float64(g.clientElapsed.Microseconds()) / n,
		"wal_bytes_per_job": float64(g.walElapsed) / n,
		"dead_tuples":       float64(dead),
		"seconds":           g.elapsed.Seconds(),
	}}, err
}

func walPosition(ctx context.Context, pool *pgxpool.Pool) (int64, error) {
	return query1[int64](ctx, pool, "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
}

func clientCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ticksPerSecond is what Linux reports to every program, whatever it uses inside.
const ticksPerSecond = 100

// treeCPU sums what the postmaster, its children, and the children that have ended used.
func treeCPU(proc string, postmaster int) (time.Duration, error) {
	paths, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return 0, err
	}
	var ticks int64
	found := false
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended; the postmaster's sum of ended children has it
		}
		s, err := parseStat(content)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		switch {
		case s.pid == postmaster:
			ticks += s.own + s.ended
			found = true
		case s.parent == postmaster:
			ticks += s.own
		}
	}
	if !found {
		return 0, fmt.Errorf("no process %d in %s: Postgres CPU cannot be read", postmaster, proc)
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

type stat struct {
	pid, parent int
	own, ended  int64 // ticks
}

// parseStat reads a line of /proc/PID/stat, whose second field may hold anything, parentheses too.
func parseStat(line []byte) (stat, error) {
	end := bytes.LastIndexByte(line, ')')
	head, _, ok := strings.Cut(string(line), " ")
	if end < 0 || !ok {
		return stat{}, fmt.Errorf("want \"pid (name) state parent …\", got %q", line)
	}
	fields := strings.Fields(string(line[end+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("want 15 fields after the name, got %d", len(fields))
	}
	var n [6]int64
	for i, text := range []string{head, fields[1], fields[11], fields[12], fields[13], fields[14]} {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return stat{}, err
		}
		n[i] = v
	}
	return stat{pid: int(n[0]), parent: int(n[1]), own: n[2] + n[3], ended: n[4] + n[5]}, nil
}
