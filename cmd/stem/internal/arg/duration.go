package arg

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

// Year is the longest duration that most flags take.
const Year = 8760 * time.Hour

// Duration is a length of time with a unit and bounds. Make one with [Within].
type Duration struct {
	Value    time.Duration
	min, max time.Duration
}

// Within is a duration from low to high that is value when the flag is not given.
func Within(low, high, value time.Duration) Duration {
	return Duration{Value: value, min: low, max: high}
}

// Set implements pflag.Value.
func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s, d.min, d.max)
	if err != nil {
		return err
	}
	d.Value = v
	return nil
}

func (d *Duration) String() string {
	if d.Value == 0 {
		return ""
	}
	return Text(d.Value)
}

// Type implements pflag.Value.
func (*Duration) Type() string { return "duration" }

var (
	bareNumber   = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)
	durationLike = regexp.MustCompile(`^[+-]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d))+$`)
	days         = regexp.MustCompile(`^([+-]?)(\d{1,6})d(.*)$`)
)

// ParseDuration reads a duration such as 500ms, 1h30m or 7d, from low to high.
func ParseDuration(s string, low, high time.Duration) (time.Duration, error) {
	d, shape := readDuration(s)
	switch {
	case bareNumber.MatchString(s) && s != "0":
		return 0, fmt.Errorf("%q has no unit; write 5s, 2m, 1h30m or 500ms", clip(s))
	case !shape:
		return 0, fmt.Errorf("want a duration such as 5s, 2m, 1h30m or 500ms, got %q", clip(s))
	case d == nil || *d < low || *d > high:
		return 0, fmt.Errorf("must be between %s and %s", bound(low), bound(high))
	}
	return *d, nil
}

// readDuration returns nil for a duration that does not fit, and whether s has the shape of one.
func readDuration(s string) (d *time.Duration, shape bool) {
	if s == "0" {
		return new(time.Duration), true
	}
	if !durationLike.MatchString(s) {
		return nil, false
	}
	if m := days.FindStringSubmatch(s); m != nil {
		var n int64
		fmt.Sscan(m[2], &n) //nolint:errcheck // at most six digits, says the pattern
		s = fmt.Sprintf("%s%dh%s", m[1], n*24, m[3])
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return nil, true
	}
	return &v, true
}

func bound(d time.Duration) string {
	switch d {
	case 0:
		return "0"
	case Year:
		return "8760h (1 year)"
	}
	return Text(d)
}

// Text is a duration as Stem prints it: 250ms, 42s, 3m7s, 3m, 2h, 8760h. Parts that are nought are left out.
func Text(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d > -time.Second && d < time.Second:
		if d%time.Millisecond == 0 || d >= time.Millisecond || d <= -time.Millisecond {
			return d.Round(time.Millisecond).String()
		}
		return d.String()
	case d > -10*time.Second && d < 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Second)
	}
	return duration.Format(d)
}

// Precise is a duration with three digits, for what is measured: 345µs, 1.35ms, 12.4ms, 2.50s.
func Precise(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	unit, value := "s", d.Seconds()
	switch {
	case d >= 1000*time.Second:
		return sign + Text(d)
	case d < time.Millisecond:
		unit, value = "µs", value*1e6
	case d < time.Second:
		unit, value = "ms", value*1e3
	}
	decimals := 2
	if value >= 100 {
		decimals = 0
	} else if value >= 10 {
		decimals = 1
	}
	return sign + strconv.FormatFloat(value, 'f', decimals, 64) + unit
}
