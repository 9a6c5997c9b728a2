// Package sanitize makes any text fit to be stored: Postgres refuses NUL and invalid UTF-8, and one such error text would
// stop the whole batch it travels in.
package sanitize

import "strings"

// Text returns s as valid UTF-8 without NUL; of a long one the first and the last 4 KiB.
func Text(s string) string {
	const half = 4 << 10
	if len(s) > 2*half+64 {
		s = s[:half] + "\n… cut …\n" + s[len(s)-half:]
	}
	s = strings.ToValidUTF8(s, "�")
	return strings.ReplaceAll(s, "\x00", "�")
}
