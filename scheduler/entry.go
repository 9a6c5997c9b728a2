package scheduler

import (
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler/spec"
)

// An Entry is a standing order as its author writes it.
type Entry struct {
	ID          string        // 1 to 128 of letters, digits, _ . : / -
	Spec        string        // when: see spec.Parse
	Zone        string        // the IANA name of a time zone; "" means UTC
	Job         queue.Request // what is enqueued each time: see queue.Queue.Template
	Jitter      time.Duration // each run is put off by 0 to this, a day at most: see spec.Jitter
	ExpireAt    time.Time     // the last instant at which it may run; zero means no end
	Enabled     *bool         // nil means as it is, and on when it is new
	Description string        // for people; not signed
	Policies    Policies
}

// An EntryError is one mistake in an entry.
type EntryError struct {
	ID    string
	Field string // what of the entry: id, spec, zone, job, jitter, expireAt, description, or policies. and a member of it
	Err   error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("schedule %.140q: %s: %v", e.ID, e.Field, e.Err)
}

// Unwrap returns what is wrong with the field: for spec an *spec.Error.
func (e *EntryError) Unwrap() error { return e.Err }

// Check returns all that is wrong with entries, each an *EntryError, joined. It needs no database.
func Check(q *queue.Queue, entries ...Entry) error {
	_, err := orders(q, entries)
	return err
}

// orders turns entries into what is stored, or says all that is wrong with them.
func orders(q *queue.Queue, entries []Entry) ([]*order, error) {
	list := make([]*order, len(entries))
	var wrong []error
	seen := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if seen[e.ID] {
			wrong = append(wrong, &EntryError{e.ID, "id", errors.New("there are two of this id")})
		}
		seen[e.ID] = true
		var mistakes []error
		list[i], mistakes = e.order(q)
		wrong = append(wrong, mistakes...)
	}
	return list, errors.Join(wrong...)
}

const (
	maxJitter      = 24 * time.Hour
	maxDescription = 4096
)

var validID = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)

// order turns an entry into what is stored, unsigned and readable, or says all that is wrong with it.
func (e *Entry) order(q *queue.Queue) (*order, []error) {
	var mistakes []error
	add := func(field string, err error) {
		if err != nil {
			mistakes = append(mistakes, &EntryError{e.ID, field, err})
		}
	}
	if !validID.MatchString(e.ID) {
		add("id", errors.New("want 1 to 128 of letters, digits, _ . : / -"))
	}
	t, errs := e.timing()
	mistakes = append(mistakes, errs...)
	template, err := q.Template(e.Job)
	add("job", err)
	if len(e.Description) > maxDescription || !utf8.ValidString(e.Description) {
		add("description", fmt.Errorf("want at most %d bytes of UTF-8, got %d", maxDescription, len(e.Description)))
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	o := newOrder(t, terms{
		Policies: e.Policies.withDefaults(), UniqueKey: template.UniqueKey, Version: template.PayloadVersion, Group: template.Group,
		ExpiresIn: template.ExpiresIn,
	}, template, e)
	if n := len(o.message.Policies); n > maxTerms {
		return nil, []error{&EntryError{e.ID, "job", fmt.Errorf("unique key, group and policies take %d bytes together; limit %d", n, maxTerms)}}
	}
	return o, nil
}

// Timing says when the entry fires. Its errors are those of Check about that.
func (e *Entry) Timing() (Timing, error) {
	t, mistakes := e.timing()
	return t, errors.Join(mistakes...)
}

func (e *Entry) timing() (Timing, []error) {
	t := Timing{ID: e.ID, Zone: time.UTC, Policy: e.Policies.daylight(), Jitter: e.Jitter, ExpireAt: micro(e.ExpireAt)}
	var mistakes []error
	add := func(field string, err error) {
		if err != nil {
			mistakes = append(mistakes, &EntryError{e.ID, field, err})
		}
	}
	var err error
	t.Spec, err = spec.Parse(e.Spec)
	add("spec", err)
	if e.Zone != "" {
		t.Zone, err = spec.Zone(e.Zone)
		add("zone", err)
	}
	for _, p := range e.Policies.problems() {
		mistakes = append(mistakes, &EntryError{e.ID, "policies." + p.name, p.err})
	}
	if e.Jitter < 0 || e.Jitter > maxJitter || e.Jitter%time.Millisecond != 0 {
		add("jitter", fmt.Errorf("want 0 to %v in whole milliseconds, got %v", maxJitter, e.Jitter))
	}
	if !e.ExpireAt.IsZero() && (e.ExpireAt.Year() < 2000 || e.ExpireAt.Year() >= 2200) {
		add("expireAt", fmt.Errorf("want a time from 2000 to 2200, got %s", e.ExpireAt.Format(time.RFC3339)))
	}
	if len(mistakes) == 0 {
		if apart := t.shortest(); apart > 0 && t.Jitter > apart {
			add("jitter", fmt.Errorf("%v is longer than the %v between two runs", t.Jitter, apart))
		}
	}
	return t, mistakes
}
