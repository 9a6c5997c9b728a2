package nearest_test

import (
	"slices"
	"testing"

	"github.com/stemqueue/stem/internal/nearest"
)

func TestName(t *testing.T) {
	t.Parallel()
	commands := []string{"worker", "queue", "dlq", "job", "ls", "list", "STEM_CONCURRENCY", "verify-full"}
	for got, want := range map[string]string{
		"wroker":          "worker",
		"works":           "worker",
		"QUEUE":           "queue",
		"STEM_CONCURENCY": "STEM_CONCURRENCY",
		"verify_full":     "verify-full",
		"lst":             "ls",
		"dq":              "dlq",
		"zz":              "",
		"lost":            "list",
		"fish":            "",
		"":                "",
		"entirely-other":  "",
	} {
		name, ok := nearest.Name(got, slices.Values(commands))
		if name != want || ok != (want != "") {
			t.Errorf("Name(%q) = %q, %t; want %q", got, name, ok, want)
		}
	}
}
