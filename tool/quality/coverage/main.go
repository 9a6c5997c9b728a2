// Coverage merges Go coverage profiles, prints a table per package and fails when the whole is under a threshold or a
// package under its floor.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	module := flag.String("module", "", "module path, left out of the table")
	threshold := flag.Float64("threshold", 80, "per cent of all statements")
	floorsFile := flag.String("floors", "", "file of lines PACKAGE PERCENT")
	except := flag.String("except", "", "regular expression of top-level paths that do not count")
	flag.Parse()
	if err := run(os.Stdout, *module, *threshold, *floorsFile, *except, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, module string, threshold float64, floorsFile, except string, profiles []string) error {
	skip, err := regexp.Compile("^(" + except + ")(/|$)")
	if err != nil {
		return err
	}
	floors := map[string]float64{}
	if floorsFile != "" {
		if err := readFile(floorsFile, func(r io.Reader) error { return readFloors(r, floors) }); err != nil {
			return err
		}
	}
	blocks := map[string]block{}
	for _, name := range profiles {
		if err := readFile(name, func(r io.Reader) error { return readProfile(r, blocks) }); err != nil {
			return err
		}
	}
	packages := tally(blocks, module, func(pkg string) bool { return except != "" && skip.MatchString(pkg) })
	return report(out, packages, floors, threshold)
}

// A block is one line of a profile: so many statements, run or not.
type block struct {
	statements int
	run        bool
}

// A count is of statements.
type count struct{ run, all int }

func (c count) percent() float64 {
	if c.all == 0 {
		return 100
	}
	return 100 * float64(c.run) / float64(c.all)
}

func readFile(name string, read func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readProfile adds the blocks of one profile: a statement is covered when any run covered it.
func readProfile(r io.Reader, blocks map[string]block) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "mode: ") {
			continue
		}
		// file.go:12.34,56.7 STATEMENTS COUNT
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return fmt.Errorf("line %d: not of a coverage profile: %q", n, line)
		}
		statements, err := strconv.Atoi(fields[1])
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		b := blocks[fields[0]]
		b.statements = statements
		b.run = b.run || fields[2] != "0"
		blocks[fields[0]] = b
	}
	return lines.Err()
}

// readFloors reads lines PACKAGE PERCENT; # begins a comment.
func readFloors(r io.Reader, floors map[string]float64) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return fmt.Errorf("line %d: want PACKAGE PERCENT, have %q", n, line)
		}
		percent, err := strconv.ParseFloat(fields[1], 64)
		if err != nil || percent < 0 || percent > 100 {
			return fmt.Errorf("line %d: %q is no percentage", n, fields[1])
		}
		if _, twice := floors[fields[0]]; twice {
			return fmt.Errorf("line %d: %s stands there twice", n, fields[0])
		}
		floors[fields[0]] = percent
	}
	return lines.Err()
}

// tally counts per package, named by its path in the module; the root package is ".".
func tally(blocks map[string]block, module string, skip func(pkg string) bool) map[string]count {
	packages := map[string]count{}
	for position, b := range blocks {
		file, _, _ := strings.Cut(position, ":")
		pkg := cmp.Or(strings.TrimPrefix(strings.TrimPrefix(path.Dir(file), module), "/"), ".")
		if skip(pkg) {
			continue
		}
		c := packages[pkg]
		c.all += b.statements
		if b.run {
			c.run += b.statements
		}
		packages[pkg] = c
	}
	return packages
}

func report(out io.Writer, packages map[string]count, floors map[string]float64, threshold float64) error {
	var total count
	var wrong []error
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		c := packages[pkg]
		total.run += c.run
		total.all += c.all
		floor, named := floors[pkg]
		if !named {
			floor = floors["*"]
		}
		mark := ""
		if c.percent() < floor {
			mark = "  under its floor"
			wrong = append(wrong, fmt.Errorf("%s: %.1f%% is under its floor of %g%%", pkg, c.percent(), floor))
		}
		fmt.Fprintf(out, "%-36s %5d of %5d %6.1f%%  floor %3g%%%s\n", pkg, c.run, c.all, c.percent(), floor, mark)
	}
	for pkg := range floors {
		if _, there := packages[pkg]; !there && pkg != "*" {
			wrong = append(wrong, fmt.Errorf("%s has a floor but no statements: delete its line", pkg))
		}
	}
	fmt.Fprintf(out, "%-36s %5d of %5d %6.1f%%  threshold %g%%\n", "total", total.run, total.all, total.percent(), threshold)
	if total.all == 0 {
		wrong = append(wrong, errors.New("the profiles hold no statements"))
	}
	if total.percent() < threshold {
		wrong = append(wrong, fmt.Errorf("%.1f%% of all statements is under the threshold of %g%%", total.percent(), threshold))
	}
	return errors.Join(wrong...)
}
