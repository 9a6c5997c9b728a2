package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/control"
)

// deadReason is a word such as "exhausted". A sentence is one that was meant for the audit log, and must not be taken for a filter
// that happens to match nothing.
type deadReason string

var reasonWord = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

func (r *deadReason) Set(s string) error {
	if !reasonWord.MatchString(s) {
		return fmt.Errorf("want the reason of a death such as exhausted, got %q; the text for the audit log is --because", s)
	}
	*r = deadReason(s)
	return nil
}

func (r *deadReason) String() string { return string(*r) }

func (*deadReason) Type() string { return "word" }

// deadFilter is the flags that say which dead letters, the same for lists and changes.
type deadFilter struct {
	queue       arg.Name
	task        arg.Name
	reason      deadReason
	fingerprint string
	key         arg.KeyID
	window      arg.Window
}

var deadFilters = []string{"queue", "task", "reason", "fingerprint", "key", "since", "until"}

func (f *deadFilter) bind(cmd *cobra.Command) {
	cmd.Flags().Var(&f.queue, "queue", "only of this queue (default: every queue)")
	cmd.Flags().Var(&f.task, "task", "only of this task")
	cmd.Flags().Var(&f.reason, "reason", "only those that died of this")
	cmd.Flags().StringVar(&f.fingerprint, "fingerprint", "", "only those with this error")
	cmd.Flags().Var(&f.key, "key", "only those signed with this key")
	f.window.Bind(cmd.Flags())
}

func (f *deadFilter) resolve() (control.DeadFilter, error) {
	since, until, err := window(&f.window)
	return control.DeadFilter{
		Queue: string(f.queue), Task: string(f.task), Reason: string(f.reason), Fingerprint: f.fingerprint, SignedWith: string(f.key),
		Since: since, Until: until,
	}, err
}

// deadCursor is where a list of dead letters goes on: when the last one died, and its id.
type deadCursor struct {
	at time.Time
	id uuid.UUID
}

func (c *deadCursor) Set(s string) error {
	at, id, _ := strings.Cut(s, "/")
	var died arg.Time
	parsed, err := arg.ParseJobID(id)
	if err != nil || died.Set(at) != nil {
		return fmt.Errorf("want the cursor that another list ended with, got %q", s)
	}
	*c = deadCursor{died.Value, uuid.MustParse(string(parsed))}
	return nil
}

func (c *deadCursor) String() string {
	if c.id == uuid.Nil {
		return ""
	}
	return c.at.Format(time.RFC3339Nano) + "/" + c.id.String()
}

func (*deadCursor) Type() string { return "cursor" }
