package bench

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
)

const (
	far   = 2 * time.Millisecond // a round trip that makes batches matter
	stale = 5 * time.Minute      // a transaction that holds up vacuum
)

// warnings are what the facts say against the database or the numbers, what loses data first.
func warnings(f *Facts) []Warning {
	return slices.Concat(unsafeSettings(f), slowSettings(f), connections(f), others(f))
}

func unsafeSettings(f *Facts) []Warning {
	var list []Warning
	for _, found := range doctor.Durability(f.Settings) {
		list = append(list, Warning(found))
	}
	return list
}

func slowSettings(f *Facts) []Warning {
	var list []Warning
	if f.Settings["autovacuum"] == "off" {
		list = append(list, Warning{
			"autovacuum_off", "autovacuum is off: claims get slower and slower, because the line of jobs is full of dead rows", doctor.Set("autovacuum", "on"),
		})
	}
	// Blocks of 8 kB, and megabytes: the defaults of a fresh server.
	if n, err := strconv.Atoi(f.Settings["shared_buffers"]); err == nil && n <= 128<<20/8192 {
		list = append(list, Warning{
			"shared_buffers_small", fmt.Sprintf("shared_buffers is %d MB: the default, meant for the smallest machines", n*8192>>20),
			"alter system set shared_buffers = '1GB' (a quarter of the memory), and restart the server",
		})
	}
	if n, err := strconv.Atoi(f.Settings["max_wal_size"]); err == nil && n <= 1024 {
		list = append(list, Warning{
			"max_wal_size_small", fmt.Sprintf("max_wal_size is %d MB: under load checkpoints follow each other closely, and every page is logged whole after each", n),
			doctor.Set("max_wal_size", "'4GB'"),
		})
	}
	return list
}

func connections(f *Facts) []Warning {
	var list []Warning
	if f.RoundTrip > far {
		list = append(list, Warning{
			"round_trip_long", fmt.Sprintf("a round trip takes %s: one enqueue a call waits for that each time, and a transaction several times", arg.Precise(f.RoundTrip)),
			"enqueue many jobs in one call, and run producers and workers near the database",
		})
	}
	switch {
	case f.Deaf && f.Direct:
		list = append(list, Warning{
			"listen_deaf", "notifications do not reach the connection of STEM_LISTEN_URL: workers find jobs at their next poll only",
			"let STEM_LISTEN_URL name the server itself, and the same database",
		})
	case f.Deaf:
		list = append(list, Warning{
			"listen_deaf", "notifications do not reach this connection, as through a pooler in transaction mode: workers find jobs at their next poll only",
			"set STEM_LISTEN_URL to the server itself",
		})
	case f.Pooled && !f.Direct:
		list = append(list, Warning{
			"pooler", "a pooler stands between this program and the server: its limits and its own time are in the numbers",
			"measure the server itself too, to tell them apart",
		})
	}
	return list
}

// others are what else goes on in the database.
func others(f *Facts) []Warning {
	var list []Warning
	if f.Oldest >= stale {
		list = append(list, Warning{
			"old_transaction", fmt.Sprintf("process %d has had a transaction open for %s (%s): until it ends, vacuum removes nothing, and claims get slower",
				f.PID, arg.Text(f.Oldest.Round(time.Second)), f.State),
			fmt.Sprintf("select pg_terminate_backend(%d); idle_in_transaction_session_timeout prevents it", f.PID),
		})
	}
	if f.Prepared >= stale {
		list = append(list, Warning{
			"prepared_transaction", fmt.Sprintf("a prepared transaction is %s old: until it ends, vacuum removes nothing, and claims get slower",
				arg.Text(f.Prepared.Round(time.Second))),
			"look at pg_prepared_xacts, and commit or roll it back",
		})
	}
	if f.Hidden {
		list = append(list, Warning{
			"transactions_hidden", "this login does not see others' transactions: whether an old one holds up vacuum is not known",
			"grant pg_read_all_stats to this login",
		})
	}
	if f.Running > 0 {
		list = append(list, Warning{
			"busy", fmt.Sprintf("%d jobs of other queues were running: the numbers are what those left over", f.Running),
			"repeat it at a quiet time, to know what the database can do",
		})
	}
	return list
}
