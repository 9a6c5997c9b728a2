// Package db holds Stem's migrations and applies them.
package db
