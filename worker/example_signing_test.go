package worker_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/worker"
)

// The environment of a deployment: STEM_SIGNING_KEYS="v1:$(openssl rand -base64 32)" and STEM_SIGNING_ACTIVE_KEY=v1.
func exportKeys() (unset func()) {
	variables := map[string]string{"STEM_SIGNING_KEYS": "v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "STEM_SIGNING_ACTIVE_KEY": "v1"}
	for name, value := range variables {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	return func() {
		for name := range variables {
			_ = os.Unsetenv(name) // it was set by this very name
		}
	}
}

// What the producer signs the worker verifies, before anything else sees it. Somebody who may write to the tables, and has no key, can neither
// make a job nor change one.
func ExampleNew_signing() {
	pool, end := pgtest.Example("signing") // or pgxpool.New
	defer end()
	defer exportKeys()()

	keys, err := signing.FromEnv()
	if err != nil {
		panic(err) // a wrong setting never means that nothing is signed
	}
	q, err := queue.New(queue.Config{Signer: keys})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	receipts, err := q.Enqueue(ctx, pool, ship.New(orderArgs{Order: 7}))
	if err != nil {
		panic(err)
	}
	thief, err := queue.New(queue.Config{}) // has the producer's password, and no key
	if err != nil {
		panic(err)
	}
	forged, err := thief.Enqueue(ctx, pool, ship.New(orderArgs{Order: 9000}))
	if err != nil {
		panic(err)
	}

	var reg worker.Registry
	worker.Handle(&reg, ship, func(_ context.Context, job *queue.Job[orderArgs]) error {
		fmt.Println("ship order", job.Args.Order)
		return nil
	})
	w, err := worker.New(pool, &reg, worker.Config{Keys: keys})
	if err != nil {
		panic(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	for _, r := range append(receipts, forged...) {
		result, err := queue.Wait(ctx, pool, r.ID)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s %q\n", result.State, result.Reason)
	}
	stop()
	if err := <-ended; err != nil {
		panic(err)
	}
	// Output:
	// ship order 7
	// completed ""
	// dead "signature_missing"
}
