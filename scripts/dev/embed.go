// Package dev embeds the scripts of this directory that the program itself runs.
package dev

import _ "embed"

// EnsurePostgres is ensure-postgres.sh: a bash script that puts a Postgres server on this machine, in the
// distribution's directory or in Stem's cache, and prints the directory of its binaries.
//
//go:embed ensure-postgres.sh
var EnsurePostgres string
