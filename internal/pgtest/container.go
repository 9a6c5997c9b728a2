package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"

	"github.com/stemqueue/stem/internal/devpg"
)

// container is the rung of devpg's ladder that needs an engine for containers.
func container(ctx context.Context) (address string, stop func(context.Context) error, err error) {
	if err := engine(ctx); err != nil {
		return "", nil, fmt.Errorf("no container engine answers: %w", err)
	}
	dir, err := os.MkdirTemp("", "stem-pgtest-")
	if err != nil {
		return "", nil, err
	}
	files, err := devpg.NewCertificates(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	const inside = "/tmp/testcontainers-go/postgres/" // where WithSSLCert puts them
	command := []string{
		"postgres", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "log_line_prefix=%m [%p] %u@%d ",
		"-c", "ssl=on", "-c", "ssl_cert_file=" + inside + "server.cert", "-c", "ssl_key_file=" + inside + "server.key",
	}
	for name, value := range settings {
		command = append(command, "-c", name+"="+value)
	}
	image := cmp.Or(os.Getenv("STEM_TEST_PG_IMAGE"), "docker.io/postgres:"+cmp.Or(os.Getenv("STEM_TEST_PG_MAJOR"), "18"))
	made, err := postgres.Run(ctx, image,
		postgres.WithUsername("postgres"), postgres.WithDatabase("postgres"),
		postgres.WithSSLCert(files.Authority, files.Certificate, files.Key),
		testcontainers.WithCmd(command...), postgres.BasicWaitStrategies())
	stop = func(ctx context.Context) error {
		var stopped error
		if made != nil {
			// Its first process is a shell that passes no signal on, and nothing in it is worth ten seconds of waiting.
			stopped = made.Terminate(ctx, testcontainers.StopTimeout(0))
		}
		return errors.Join(stopped, os.RemoveAll(dir))
	}
	if err != nil {
		return "", nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	address, err = made.ConnectionString(ctx, "sslmode=verify-full", "sslrootcert="+files.Authority)
	if err != nil {
		return "", nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	return address, stop, nil
}

// engine says why no engine for containers can be used. The library panics where it cannot even guess at one.
func engine(ctx context.Context) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	provider, err := testcontainers.ProviderDefault.GetProvider()
	if err != nil {
		return err
	}
	return errors.Join(provider.Health(ctx), provider.Close())
}
