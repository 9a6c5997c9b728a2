package arg_test

import (
	"slices"
	"testing"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

func TestChoicesAddUpWithoutDoubles(t *testing.T) {
	t.Parallel()
	c := arg.SomeOf("ready", "dead")
	for _, s := range []string{"dead, ready", "dead"} {
		if err := c.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"dead", "ready"}; !slices.Equal(c.Values, want) {
		t.Errorf("got %q, want %q", c.Values, want)
	}
	const want = `want ready or dead, got "deda". Did you mean dead?`
	if err := c.Set("ready,deda"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
