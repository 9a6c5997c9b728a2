package spec_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/scheduler/spec"
)

// sound checks what holds of any text: it is refused with an error that can be shown, or is a spec that reads back as itself and
// whose runs are later and later.
func sound(t *testing.T, text string, after int64) {
	t.Helper()
	s, err := spec.Parse(text)
	if err != nil {
		e, ok := errors.AsType[*spec.Error](err)
		if !ok {
			t.Fatalf("%q: %T: %v", text, err, err)
		}
		if line, caret, ok := strings.Cut(e.Caret(), "\n"); ok && (len(caret) < 1 || !strings.HasSuffix(caret, "^") || !utf8.ValidString(line)) {
			t.Errorf("%q: %q", text, e.Caret())
		}
		return
	}
	again, err := spec.Parse(s.String())
	if err != nil || again.String() != s.String() {
		t.Fatalf("%q is %s, which is %v, %v", text, s, again, err)
	}
	at := time.Unix(after%10_000_000_000, 0)
	z := zone(t, "Africa/Casablanca")
	for _, p := range []spec.Policy{{}, {Gap: "skip", Overlap: "both"}, {Overlap: "second"}} {
		before := at
		for range 3 {
			run, ok := s.Next(before, z, p)
			if !ok {
				break
			}
			if !run.At.After(before) {
				t.Fatalf("%s after %s: %s", s, before, run.At)
			}
			if same, ok := again.Next(run.At.Add(-time.Second), z, p); !ok || !same.At.Equal(run.At) && run.At.Sub(before) >= time.Second {
				t.Fatalf("%s after %s: %s, but a second before that %s", s, before, run.At, same.At)
			}
			before = run.At
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, text := range []string{
		"0 9 * * MON-FRI", "*/5 * * * * *", "0 0 L * 5#2", "0 0 15W,LW * 5L", "@daily", "61 * * * *", "6 * * * *,", "0 0 30 2 *", "30 2 29 2 *", "1-5/2,9 0 1/3 JAN-MAR 7",
	} {
		f.Add(text, int64(1_900_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, after int64) { sound(t, text, after) })
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"5m", "1d", "1d1h30m", "-1h", "0s", "1.5h", "36500d", "1e9s", "1dd", "9223372036854775807ns"} {
		f.Add(text, int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, after int64) { sound(t, "every:"+text, after) })
}

func FuzzCalendar(f *testing.F) {
	for _, text := range []string{
		`"hours":[9],"minutes":[0,30]`, `"months":["FEB"],"monthdays":[29]`, `"weekdays":[7,"MON"]`, `"hours":[24]`, `"hours":[9.5]`, `"hours":null`, `"hours":[[]]`,
	} {
		f.Add(text, int64(1_900_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, after int64) { sound(t, `{"calendar":{`+text+`}}`, after) })
}

func FuzzSolar(f *testing.F) {
	for i, event := range []string{"sunrise", "sunset", "noon", "dawn", "dusk", "moonrise"} {
		f.Add(event, float64(i*18), float64(i*36-90), "-15m", int64(1_900_000_000))
	}
	f.Fuzz(func(t *testing.T, event string, latitude, longitude float64, offset string, after int64) {
		sound(t, fmt.Sprintf(`{"solar":%q,"latitude":%g,"longitude":%g,"offset":%q}`, event, latitude, longitude, offset), after)
	})
}
