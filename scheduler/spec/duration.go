package spec

import (
	"strconv"
	"strings"
	"time"
)

// parseDuration reads what time.ParseDuration does, and days: "90s", "1h30m", "1d". A day is 24 hours.
func parseDuration(path, text string) (time.Duration, error) {
	const want = "want a duration such as 30s, 5m, 1h30m or 1d"
	rest, days := text, time.Duration(0)
	sign := time.Duration(1)
	if r, ok := strings.CutPrefix(rest, "-"); ok {
		rest, sign = r, -1
	}
	if head, tail, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, wrong(path, "%q; %s", text, want)
		}
		days, rest = time.Duration(n)*24*time.Hour, tail
		if rest == "" {
			return sign * days, nil
		}
	}
	// A second sign would be read, too.
	if rest == "" || rest[0] < '0' || rest[0] > '9' {
		return 0, wrong(path, "%q; %s", text, want)
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, wrong(path, "%q; %s", text, want)
	}
	if d > maxEvery {
		return 0, wrong(path, "%q; want 100 years or less", text)
	}
	d += days
	if d%time.Millisecond != 0 {
		return 0, wrong(path, "%q; want whole milliseconds", text)
	}
	return sign * d, nil
}
