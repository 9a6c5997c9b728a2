// Package cli is the stem command: the root, what every command shares, and one short file per group of commands.
//
// A command is a function that takes the [App] and returns a cobra command: an options struct with the values of
// package arg, flags bound to it, and a RunE that calls the library and hands rows to package output. Everything else
// (settings, connection, colour, signals, errors, exit codes) the App and [Main] have done or will do.
package cli
