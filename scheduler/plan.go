package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stemqueue/stem/internal/duration"
	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/signing"
)

// A Plan is what Apply would do: made against the table as it was read, and good for that alone.
type Plan struct {
	Changes []Change // by id
	now     time.Time
}

// A Change is what becomes of one schedule.
type Change struct {
	ID       string
	Kind     string  // new, changed, same or pruned
	Fields   []Field // of a changed one
	Paused   string  // why it is paused, and stays so
	Never    bool    // it is on, and no instant comes
	order    *order
	expected int64
	was      *bool // whether it is on
	retimed  bool
}

// The kinds of changes.
const (
	KindNew     = "new"
	KindChanged = "changed"
	KindSame    = "same"
	KindPruned  = "pruned"
)

// A Field is one difference, in words for people.
type Field struct{ Name, Before, After string }

// IsEmpty tells whether there is nothing to do.
func (p *Plan) IsEmpty() bool {
	return !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Kind != KindSame })
}

// Plan checks entries and compares them with the table; with prune, schedules that are not among them go. Its errors are those of Check.
// It changes nothing.
func (t *Table) Plan(ctx context.Context, prune bool, entries ...Entry) (*Plan, error) {
	wanted, err := orders(t.queue, entries)
	if err != nil {
		return nil, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return nil, err
	}
	there := map[string]*store.ReadSchedulesRow{}
	for r, err := range t.rows(ctx) {
		if err != nil {
			return nil, err
		}
		there[r.ID] = r
	}
	p := &Plan{now: now}
	for i := range entries {
		e := &entries[i]
		c, err := t.change(e, wanted[i], there[e.ID], now)
		if err != nil {
			return nil, err
		}
		p.Changes = append(p.Changes, c)
		delete(there, e.ID)
	}
	if prune {
		for id, r := range there {
			p.Changes = append(p.Changes, Change{ID: id, Kind: KindPruned, expected: r.Version})
		}
	}
	slices.SortFunc(p.Changes, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
	return p, nil
}

// change compares an entry, whose order it takes, with the row that is there, if any.
func (t *Table) change(e *Entry, o *order, r *store.ReadSchedulesRow, now time.Time) (Change, error) {
	c := Change{ID: e.ID, Kind: KindNew, order: o, retimed: true}
	if r != nil {
		if e.Enabled == nil {
			o.message.Enabled = r.Enabled
		}
		before, err := orderOf(r)
		err = errors.Join(err, before.understand())
		c.expected, c.was, c.Paused, c.Kind = r.Version, &r.Enabled, r.PausedWhy, KindSame
		c.Fields = t.compare(before, o, err)
		if len(c.Fields) > 0 {
			c.Kind = KindChanged
		}
		timed := func(f Field) bool {
			return slices.Contains([]string{"spec", "zone", "jitter", "expireAt", "enabled", "policies.gap", "policies.overlap"}, f.Name)
		}
		c.retimed = err != nil || slices.ContainsFunc(c.Fields, timed)
		if len(r.Sig) > 0 && t.config.Keys.Policy() == signing.Off && c.Kind == KindChanged {
			return Change{}, fmt.Errorf("scheduler: schedule %q: %w", e.ID, ErrUnsigned)
		}
	}
	c.Never = o.message.Enabled && c.Kind != KindSame && c.retimed && o.timing.after(now).IsZero()
	return c, nil
}

// compare lists what differs. What the row says may not be understood; then it differs.
func (t *Table) compare(before, after *order, broken error) []Field {
	var list []Field
	add := func(name, b, a string) {
		if a != b {
			list = append(list, Field{name, b, a})
		}
	}
	b, a := &before.message, &after.message
	add("spec", b.Spec, a.Spec)
	add("zone", b.Zone, a.Zone)
	add("task", b.Task, a.Task)
	add("queue", b.Queue, a.Queue)
	payload, codec, err := before.opened(t.config.Encryption)
	switch {
	case err != nil:
		list = append(list, Field{"args", "(encrypted with a key that is not here)", abbreviated(a.Payload)})
	case !bytes.Equal(payload, a.Payload) && t.encrypts(): // who wants them to be a secret does not want them in the log of a pipeline
		list = append(list, Field{"args", "(not shown, since encryption is on)", "(changed)"})
	case !bytes.Equal(payload, a.Payload):
		list = append(list, Field{"args", abbreviated(payload), abbreviated(a.Payload)})
	}
	add("codec", codec, a.Codec)
	if t.encrypts() && err == nil && codec == b.Codec {
		list = append(list, Field{"encryption", "off", "on"})
	}
	if !maps.Equal(b.Headers, a.Headers) {
		list = append(list, Field{"headers", headerText(b.Headers), headerText(a.Headers)})
	}
	add("priority", strconv.Itoa(b.Priority), strconv.Itoa(a.Priority))
	add("maxAttempts", strconv.Itoa(b.MaxAttempts), strconv.Itoa(a.MaxAttempts))
	add("hardLimit", duration.Format(b.HardLimit), duration.Format(a.HardLimit))
	add("softLimit", duration.Format(b.SoftLimit), duration.Format(a.SoftLimit))
	add("jitter", duration.Format(b.Jitter), duration.Format(a.Jitter))
	add("expireAt", when(b.End), when(a.End))
	add("enabled", strconv.FormatBool(b.Enabled), strconv.FormatBool(a.Enabled))
	add("description", before.description, after.description)
	if _, refusal := before.judge(t.config.Keys); refusal != nil { // applying it again is how what somebody did to a row is undone
		list = append(list, Field{"signature", string(refusal.Reason), "signed anew"})
	}
	if broken != nil {
		return append(list, Field{"row", broken.Error(), "as in the file"})
	}
	return append(list, before.terms.compare(after.terms)...)
}

func (t *Table) encrypts() bool { return t.config.Encryption != nil && t.config.Encryption.On() }

func (t terms) compare(a terms) []Field {
	var list []Field
	for _, f := range []Field{
		{"policies.gap", t.Gap, a.Gap},
		{"policies.overlap", t.Overlap, a.Overlap},
		{"policies.missed", t.Missed, a.Missed},
		{"policies.catchUpWindow", duration.Format(t.CatchUpWindow), duration.Format(a.CatchUpWindow)},
		{"policies.catchUpMax", strconv.Itoa(t.CatchUpMax), strconv.Itoa(a.CatchUpMax)},
		{"policies.previous", t.Previous, a.Previous},
		{"policies.pauseAfterFailures", strconv.Itoa(t.PauseAfterFailures), strconv.Itoa(a.PauseAfterFailures)},
		{"expiresIn", duration.Format(t.ExpiresIn), duration.Format(a.ExpiresIn)},
		{"uniqueKey", keyText(t.UniqueKey), keyText(a.UniqueKey)},
		{"version", strconv.Itoa(t.Version), strconv.Itoa(a.Version)},
		{"group", t.Group, a.Group},
	} {
		if f.Before != f.After {
			list = append(list, f)
		}
	}
	return list
}

func abbreviated(payload []byte) string {
	const most = 200
	if len(payload) <= most {
		return string(payload)
	}
	return fmt.Sprintf("%s… (%d bytes)", payload[:most], len(payload))
}

func headerText(headers map[string]string) string {
	if len(headers) == 0 {
		return ""
	}
	b, err := json.Marshal(headers)
	if err != nil {
		panic(err) // strings
	}
	return string(b)
}

// keyText shows a unique key without the task that it begins with.
func keyText(key []byte) string {
	_, own, found := bytes.Cut(key, []byte{0})
	if !found {
		own = key
	}
	return strconv.Quote(string(own))
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Apply does what a plan says, all or nothing, and signs what changes. ErrChanged means that a schedule has changed since it was planned:
// plan anew. Counters and the last run stay; a schedule whose timing does not change keeps its next instant.
func (t *Table) Apply(ctx context.Context, p *Plan, reason string) error {
	var rows []row
	var gone []string
	var versions []int64
	for i := range p.Changes {
		c := &p.Changes[i]
		switch c.Kind {
		case KindPruned:
			gone, versions = append(gone, c.ID), append(versions, c.expected)
		case KindNew, KindChanged:
			o := *c.order
			r, err := t.prepare(&o, c.expected, true)
			if err != nil {
				return err
			}
			r.time(&o.timing, o.message.Enabled, p.now, !c.retimed)
			r.WasEnabled = c.was
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 && len(gone) == 0 {
		return nil
	}
	return t.inTx(ctx, "apply", func(q *store.Queries) error {
		if len(rows) > 0 {
			if err := t.send(ctx, q, "apply", reason, rows); err != nil {
				return err
			}
		}
		if len(gone) > 0 {
			return q.DeleteSchedules(ctx, gone, versions, reason)
		}
		return nil
	})
}
