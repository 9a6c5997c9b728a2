// Package integration holds the tests that need several worker processes, or a server that goes away.
package integration
