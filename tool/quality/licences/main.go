// Licences lists the modules that are linked into the given packages and fails on one whose licence file is missing or
// not of a kind that Stem may ship with.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, packages []string) error {
	dirs, err := modules(ctx, packages)
	if err != nil {
		return err
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		kind, err := licence(dirs[name])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
			continue
		}
		fmt.Fprintf(out, "%-14s %s\n", kind, name)
	}
	return errors.Join(wrong...)
}

// modules returns the directory of each module that a package's non-test code is built from, by path and version.
func modules(ctx context.Context, packages []string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=Module"}, packages...)...)
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	dirs := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Module *struct{ Path, Version, Dir string }
		}
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return dirs, nil
		case err != nil:
			return nil, err
		case p.Module != nil: // nil in the standard library
			dirs[strings.TrimSpace(p.Module.Path+" "+p.Module.Version)] = p.Module.Dir
		}
	}
}

// kinds are recognised by sentences that their texts share, after white space is evened out. The first that fits wins.
var kinds = []struct {
	name string
	text *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`(?i)Apache License,? Version 2\.0`)},
	{"MPL-2.0", regexp.MustCompile(`(?i)Mozilla Public License,? (Version|v\.) 2\.0`)},
	{"MIT", regexp.MustCompile(`(?i)Permission is hereby granted, free of charge, to any person obtaining a copy`)},
	{"ISC", regexp.MustCompile(`(?i)Permission to use, copy, modify, and(/or)? distribute this software for any purpose`)},
	{"BSD", regexp.MustCompile(`(?i)Redistribution and use in source and binary forms, with or without modification, are permitted`)},
}

// forbidden wins over every kind: some files hold more than one licence.
var forbidden = regexp.MustCompile(`(?i)GNU (Affero |Lesser )?General Public License|Business Source License|Server Side Public License|Commons Clause`)

var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)([.-].*)?$`)

// licence says of which kind the licence in a module's root directory is.
func licence(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var unknown []string
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		if kind := classify(text); kind != "" {
			return kind, nil
		}
		unknown = append(unknown, e.Name())
	}
	if unknown == nil {
		return "", errors.New("has no licence file")
	}
	return "", fmt.Errorf("%s is of no allowed kind (MIT, BSD, Apache-2.0, ISC, MPL-2.0)", strings.Join(unknown, ", "))
}

// classify returns the name of an allowed kind, or nothing.
func classify(text []byte) string {
	even := strings.Join(strings.Fields(string(text)), " ")
	for _, k := range kinds {
		if k.text.MatchString(even) {
			// The text of MPL-2.0 names the GNU licences as secondary ones.
			if k.name != "MPL-2.0" && forbidden.MatchString(even) {
				return ""
			}
			return k.name
		}
	}
	return ""
}
