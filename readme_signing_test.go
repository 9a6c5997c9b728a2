package stem_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/worker"
)

// The code of docs/guides/signing.md.

var _ = signAndVerify

func signAndVerify(ctx context.Context, pool *pgxpool.Pool, tx pgx.Tx) error {
	keys, err := signing.FromEnv()
	if err != nil {
		return err // a wrong setting never means that nothing is signed
	}

	q, err := queue.New(queue.Config{Signer: keys})
	if err != nil {
		return err
	}

	if _, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 7})); err != nil {
		return err
	}
	var reg worker.Registry

	w, err := worker.New(pool, &reg, worker.Config{Keys: keys})
	if err != nil {
		return err
	}

	return w.Run(ctx)
}
