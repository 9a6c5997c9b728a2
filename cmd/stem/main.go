// Command stem operates the Stem job queue: it enqueues, inspects, repairs, runs workers and schedulers, and proves
// that all of them are well.
package main

import (
	"os"

	"github.com/stemqueue/stem/cmd/stem/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}))
}
