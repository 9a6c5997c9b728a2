// Package arg holds the values that flags and positional arguments take. Each is checked while it is read, so a command
// only ever sees good ones. The errors say what is wrong with the value; the caller puts the name of the flag in front.
// All values implement [github.com/spf13/pflag.Value]; their zero value is "not given" unless a constructor says
// otherwise.
package arg
