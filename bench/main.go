// Command bench runs Stem beside River on one private Postgres. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	scenarios            []string
	only                 string
	list, quick, smoke   bool
	output, file, outDir string
	rounds               int
	variants             bool
	seed                 uint64
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == childCommand {
		os.Exit(childMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		stderr("bench: interrupted; the server is stopped (%v)", err)
		os.Exit(130)
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		stderr("bench: %v", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Func("scenario", "`NAME` of a scenario, or several with commas, or all; may be repeated", func(s string) error {
		o.scenarios = append(o.scenarios, strings.Split(s, ",")...)
		return nil
	})
	flags.StringVar(&o.only, "only", "", "run only the variants whose name contains this `TEXT`")
	flags.BoolVar(&o.list, "list", false, "name the scenarios and end")
	flags.BoolVar(&o.quick, "quick", false, "fewer jobs; a table is of one round then; with --output json the headline variant alone")
	flags.BoolVar(&o.smoke, "smoke", false, "as little as shows that a scenario runs and gives figures; they mean nothing")
	flags.StringVar(&o.output, "output", "table", "what stdout gets: table or json")
	flags.StringVar(&o.file, "json-file", "", "write every run and metric to this `FILE` as well")
	flags.StringVar(&o.outDir, "out", "", "write results.json and an SVG plot per scenario into this `DIR`")
	flags.IntVar(&o.rounds, "rounds", 0, "runs per contender; 0 means 3, or 1 for a quick table and for --smoke")
	flags.BoolVar(&o.variants, "variants", false, "with --quick --output json: run every variant all the same")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the payload's letters")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; scenarios are named with --scenario", flags.Arg(0))
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("--output: want table or json, got %q", o.output)
	case o.quick && o.smoke:
		return o, errors.New("--quick and --smoke: want one of them")
	case o.rounds < 0:
		return o, fmt.Errorf("--rounds: want 1 or more, got %d", o.rounds)
	case o.rounds == 0 && (o.smoke || o.quick && o.output == "table"):
		o.rounds = 1
	case o.rounds == 0:
		o.rounds = 3
	}
	return o, nil
}

func (o options) size() size {
	switch {
	case o.smoke:
		return smoke
	case o.quick:
		return quick
	default:
		return full
	}
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	all := scenarios()
	if o.list {
		return list(os.Stdout, all)
	}
	chosen, err := resolve(all, o.scenarios)
	if err != nil {
		return err
	}
	if o.smoke {
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, 20*time.Minute, errors.New("a smoke run takes a minute or two; this one was ended after 20"))
		defer cancel()
	}
	l, err := openLab(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.size, padding = o.size(), pad(o.seed)
	l.say("River %s; Stem of this checkout; Postgres %s with %v", riverVersion(), l.server.Version, serverSettings)
	r, err := measure(ctx, l, o, chosen)
	if err == nil {
		err = conclude(o, r)
	}
	// What was measured before an error or Ctrl-C may have taken hours.
	return errors.Join(err, save(o, r))
}

func list(w io.Writer, all []scenario) error {
	minutes := 0
	for _, s := range all {
		minutes += s.takes
		fmt.Fprintf(w, "%-12s %3d min  %s\n", s.name, s.takes, s.about)
	}
	_, err := fmt.Fprintf(w, "%-12s %3d min  about, three rounds on 2 vCPU; --quick takes a minute or two for most\n", "all", minutes)
	return err
}

// measure runs the scenarios, and prints each table when it is there. What it returns is good as far as it goes.
func measure(ctx context.Context, l *lab, o options, chosen []scenario) (report, error) {
	r := report{
		Machine:  map[string]string{"go": runtime.Version(), "cpus": fmt.Sprint(runtime.NumCPU()), "os": runtime.GOOS + "/" + runtime.GOARCH},
		Versions: map[string]string{"postgres": l.server.Version, "river": riverVersion()},
		Settings: serverSettings, Rounds: o.rounds, Quick: l.size != full,
	}
	var failed error
	for _, s := range chosen {
		one, err := runScenario(ctx, l, s, o.rounds, o.only, o.quick && o.output == "json" && !o.variants)
		if len(one.Comparisons) > 0 {
			r.Results = append(r.Results, one)
			if o.output == "table" {
				err = errors.Join(err, writeTable(os.Stdout, one))
			}
		}
		if err != nil {
			failed = err
			break
		}
	}
	r.Floors, r.missing = judge(r.Results)
	r.Shares = shares(r.Results)
	return r, failed
}

// conclude prints what only the whole run can tell.
func conclude(o options, r report) error {
	if o.output == "json" {
		return writeHeadlines(os.Stdout, r.Results)
	}
	writeShares(os.Stdout, r.Shares)
	err := writeVerdicts(os.Stdout, r.Floors, o.size())
	if o.smoke && r.missing != nil {
		err = errors.Join(err, fmt.Errorf("nothing was measured for these floors: %s", strings.Join(r.missing, "; ")))
	}
	return err
}

// save writes the files that were asked for.
func save(o options, r report) error {
	files := []string{}
	if o.file != "" {
		files = append(files, o.file)
	}
	if o.outDir != "" {
		if err := os.MkdirAll(o.outDir, 0o750); err != nil {
			return err
		}
		files = append(files, filepath.Join(o.outDir, "results.json"))
	}
	for _, name := range files {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := errors.Join(writeReport(f, r), f.Close()); err != nil {
			return err
		}
	}
	if o.outDir == "" {
		return nil
	}
	for _, one := range r.Results {
		if err := os.WriteFile(filepath.Join(o.outDir, one.Scenario+".svg"), []byte(plot(one, r.note())), 0o600); err != nil {
			return err
		}
	}
	return nil
}
