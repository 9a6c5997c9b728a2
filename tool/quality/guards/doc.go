// Package guards holds tests of the repository as a whole: which package may import which, which names are public, and
// where a test may sleep. It has no code of its own.
package guards
