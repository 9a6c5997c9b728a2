package fingerprint_test

import (
	"strings"
	"testing"

	"github.com/stemqueue/stem/internal/fingerprint"
)

func TestForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"user 17 not found":                               "user # not found",
		"user  17\tnot found\ndetail":                     "user # not found",
		`no column "a1b2" here`:                           "no column “” here",
		"no 'x' or `y`":                                   "no “” or “”",
		"job 0190a3b4-11aa-7c00-8000-0123456789ab failed": "job # failed",
		"at 0xdeadBEEF":                                   "at #",
		"commit fb06077aa1 bad":                           "commit # bad",
		"dial tcp 10.1.2.3:5432: refused":                 "dial tcp @: refused",
		"dial tcp 10.1.2.3: refused":                      "dial tcp @: refused",
		"lookup db-3.example.org:5432 timed out":          "lookup @ timed out",
		"mail to ada@example.org bounced":                 "mail to @ bounced",
		"took 3.5s":                                       "took #.#s",
		"":                                                "",
	} {
		if got := fingerprint.Form(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := fingerprint.Form(strings.Repeat("é", 10_000)); len(got) > 512 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestAlikeIsAlikeAndTheTaskCounts(t *testing.T) {
	t.Parallel()
	a := fingerprint.Of("mail", `user 1 "x" at 10.0.0.1:80`)
	if b := fingerprint.Of("mail", `user 22 "y z" at 10.9.9.9:443`); a != b {
		t.Error("two failures of one cause differ")
	}
	if b := fingerprint.Of("sms", `user 1 "x" at 10.0.0.1:80`); a == b {
		t.Error("two tasks share a fingerprint")
	}
}

// The value is part of the API: dead letters of an older version must group with those of a newer one.
func TestTheFingerprintIsStable(t *testing.T) {
	t.Parallel()
	// printf 'mail\nuser # not found' | sha256sum
	const want = "7b1c94a301f7f1f8ac79b86c2d39b613c64c379e85fb81e06db5ab74ba4f9422"
	if got := fingerprint.Of("mail", "user 17 not found"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
