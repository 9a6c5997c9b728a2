// Package listen keeps one LISTEN connection open. A notification is a hint: whoever gets none must still poll.
package listen

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/pgsession"
)

// Run listens on the channels until ctx is done, and connects again, after pauses that grow from 50 ms to 10 s, whenever the
// connection breaks. prepare, unless nil, may change the configuration before each of them. up is called after each (re)connect, when notifications may have been missed; notify for each one that
// came. The connection never opens a transaction, since one that stood still would fill the server's queue.
func Run(ctx context.Context, config *pgx.ConnConfig, prepare func(context.Context, *pgx.ConnConfig) error, channels []string,
	log *slog.Logger, up func(), notify func(channel, payload string),
) {
	pause := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := listen(ctx, config.Copy(), prepare, channels, up, notify)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 50 * time.Millisecond
		}
		log.WarnContext(ctx, "listener lost; polling goes on", "retry_in", pause, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

func listen(ctx context.Context, config *pgx.ConnConfig, prepare func(context.Context, *pgx.ConnConfig) error, channels []string,
	up func(), notify func(channel, payload string),
) error {
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { notify(n.Channel, n.Payload) }
	if prepare != nil {
		if err := prepare(ctx, config); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	conn, err := connect(ctx, config)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // it is gone either way
	}()
	for _, channel := range channels {
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return fmt.Errorf("listen %s: %w", channel, err)
		}
	}
	up()
	for {
		// Every 30 s a round trip, so that a connection which died without a word is noticed.
		waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := conn.PgConn().WaitForNotification(waiting)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !pgconn.Timeout(err) {
				return fmt.Errorf("listen: %w", err)
			}
			probe, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err = conn.Exec(probe, "")
			cancel()
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
		}
	}
}

// connect opens a session that the server does not end for being idle.
func connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	const idle = "idle_session_timeout"
	if _, given := config.RuntimeParams[idle]; given {
		return pgx.ConnectConfig(ctx, config)
	}
	config.RuntimeParams[idle] = "0"
	conn, err := pgx.ConnectConfig(ctx, config)
	if pgsession.Refused(err) {
		delete(config.RuntimeParams, idle)
		return pgx.ConnectConfig(ctx, config)
	}
	return conn, err
}
