package jsonlimit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stemqueue/stem/internal/jsonlimit"
)

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{`{"a":[1,-2.5e3,"\"\\ué",true,null]}`, ""},
		{`"\ud83d\ude00"`, ""},
		{nested(200), ""},
		{nested(201), "depth 201 (limit 200)"},
		{`"` + nested(300) + `"`, ""},
		{strings.Repeat("9", 400), ""},
		{strings.Repeat("9", 401), "number at byte 0 has 401 digits (limit 400)"},
		{`[1e400]`, ""},
		{`[1e401]`, "number at byte 1 has an exponent above 400"},
		{`[1e-99999999999999999999]`, "number at byte 1 has an exponent above 400"},
		{`"\ud83d"`, `lone high surrogate \ud83d at byte 1`},
		{`"\ud83dx"`, `lone high surrogate \ud83d at byte 1`},
		{`"\ude00"`, `lone low surrogate \ude00 at byte 1`},
		{`"\\\"\n\ud83d\ude00\ude00"`, `lone low surrogate \ude00 at byte 19`},
		{`["\\", "\"\ud83d"]`, `lone high surrogate \ud83d at byte 10`},
		{`["\\ud83d", "[\"[", ` + nested(199) + `]`, ""},
		{`["\\ud83d", "[\"[", ` + nested(200) + `]`, "depth 201 (limit 200)"},
		{`"\ud83d\ud83d"`, `lone high surrogate \ud83d at byte 1`},
		{`{`, "not valid JSON: unexpected end of JSON input"},
		{``, "not valid JSON: unexpected end of JSON input"},
	} {
		got := ""
		if err := jsonlimit.Check([]byte(c.in)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%.40s: got %q, want %q", c.in, got, c.want)
		}
	}
}

// FuzzCheck: it never panics, and what it passes Go decodes.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `"\ud83d\ude00"`, `"\ud83d`, `[-1.5e10]`, nested(201), "\"\xff\"", `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = jsonlimit.CheckLimits(b) // of what is no JSON it may say anything, but it must not panic
		var v any
		if err := jsonlimit.Check(b); err == nil {
			if err := json.Unmarshal(b, &v); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
				t.Errorf("passed %q, and then: %v", b, err)
			}
		}
	})
}
