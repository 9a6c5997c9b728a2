//go:build race

package main

const raceEnabled = true // programs start several times slower
