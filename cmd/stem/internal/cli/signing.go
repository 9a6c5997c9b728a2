package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

func newSigning(a *App) *cobra.Command {
	return group("signing", "Make keys, watch a rotation, verify what waits", "  stem signing keygen\n  stem signing status --key v2",
		newSigningKeygen(a), newSigningStatus(a), newSigningUsage(a), newSigningVerify(a))
}

// ring returns the keys of the settings; a command that is about them fails when there are none in force.
func (a *App) ring() (*signing.Ring, error) {
	ring := a.Config.Keys
	if ring.Policy() != signing.Off {
		return ring, nil
	}
	text := "signing is off: no key is configured"
	if len(ring.Keys()) > 0 {
		text = "signing is off: STEM_SIGNING_POLICY=off"
	}
	return nil, fault.Config("signing_off", "%s", text).About("STEM_SIGNING_KEYS").
		WithHint("make a key and export what is printed: stem signing keygen")
}

// keyUsage is what a key has signed, and what this configuration knows of it.
type keyUsage struct {
	control.KeyUsage
	known     signing.Key
	state     string
	schedules int64
}

var usageSheet = output.Sheet[keyUsage]{Noun: "key", Plural: "keys: nothing is waiting, running or dead, and there are no schedules", Columns: []output.Column[keyUsage]{
	{Header: "Key", Value: func(u keyUsage) any { return cmp.Or(u.Key, "none") }, Name: true},
	{Header: "Signed", Value: func(u keyUsage) any { return u.Key != "" }, Data: true},
	{Header: "Algorithm", Value: func(u keyUsage) any { return optional(u.Algorithm) }},
	{Header: "Fingerprint", Value: func(u keyUsage) any { return optional(u.known.Fingerprint) }, Wide: true},
	{Header: "State", Value: func(u keyUsage) any { return optional(u.state) }, Tone: func(u keyUsage) output.Tone {
		if u.state == "unknown" || u.state == string(signing.StateRevoked) {
			return output.Warn
		}
		return output.Plain
	}},
	{Header: "Active", Value: func(u keyUsage) any { return u.known.Active&signing.UseJob != 0 }},
	{Header: "Ready", Value: func(u keyUsage) any { return u.Ready }},
	{Header: "Scheduled", Value: func(u keyUsage) any { return u.Scheduled }},
	{Header: "Running", Value: func(u keyUsage) any { return u.Running }},
	{Header: "Dead", Value: func(u keyUsage) any { return u.Dead }},
	{Header: "Schedules", Value: func(u keyUsage) any { return u.schedules }},
}}

func newSigningUsage(a *App) *cobra.Command {
	return a.watchable(&cobra.Command{
		Use:   "usage",
		Short: "Count what each key has signed and is still there",
		Long: "Count the jobs that have not ended, the dead letters and the schedules by the key that signed them; what nobody signed stands\n" +
			"under \"none\". A key of this configuration that shows nothing but noughts can be removed from it: stem schedule resign signs\n" +
			"schedules anew, stem dlq resign dead letters. State is that of the key in this configuration, \"unknown\" when it has none of\n" +
			"that name.",
		Example: "  stem signing usage\n  stem signing usage --json | jq -r '.[] | select(.key == \"v1\") | .dead'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := a.plane(cmd.Context())
			if err != nil {
				return err
			}
			counted, err := plane.SignatureUsage(cmd.Context())
			if err != nil {
				return err
			}
			table, err := a.schedules(cmd.Context())
			if err != nil {
				return err
			}
			usage, err := countSchedules(cmd.Context(), table, counted)
			if err != nil {
				return err
			}
			return output.List(a.Printer, &usageSheet, output.Rows(withKeys(usage, a.Config.Keys.Keys())))
		},
	})
}

// countSchedules adds to what keys have signed of jobs what they have of schedules.
func countSchedules(ctx context.Context, table *scheduler.Table, jobs []control.KeyUsage) ([]keyUsage, error) {
	var list []keyUsage
	for _, u := range jobs {
		list = append(list, keyUsage{KeyUsage: u})
	}
	for s, err := range table.List(ctx) {
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(u keyUsage) bool { return u.Key == s.Key && u.Algorithm == s.Algorithm })
		if i < 0 {
			i, list = len(list), append(list, keyUsage{KeyUsage: control.KeyUsage{Key: s.Key, Algorithm: s.Algorithm}})
		}
		list[i].schedules++
	}
	return list, nil
}

// withKeys tells what is known of the keys that were counted, and adds those that have signed nothing.
func withKeys(counted []keyUsage, keys []signing.Key) []keyUsage {
	var list, rest []keyUsage
	same := func(u keyUsage, k signing.Key) bool { return u.Key == k.ID && u.Algorithm == k.Algorithm }
	for _, k := range keys {
		if !slices.ContainsFunc(counted, func(u keyUsage) bool { return same(u, k) }) {
			list = append(list, keyUsage{KeyUsage: control.KeyUsage{Key: k.ID, Algorithm: k.Algorithm}, known: k, state: string(k.State)})
		}
	}
	for _, row := range counted {
		u := row
		if i := slices.IndexFunc(keys, func(k signing.Key) bool { return same(u, k) }); i >= 0 {
			row.known, row.state = keys[i], string(keys[i].State)
		} else if u.Key != "" {
			row.state = "unknown"
		}
		if u.Key == "" {
			rest = append(rest, row)
			continue
		}
		list = append(list, row)
	}
	slices.SortStableFunc(list, func(a, b keyUsage) int { return cmp.Compare(a.Key, b.Key) })
	return append(list, rest...)
}

var verdictSheet = output.Sheet[control.Verdict]{
	Noun: "job that would be refused", Plural: "jobs that would be refused",
	Columns: []output.Column[control.Verdict]{
		{Header: "ID", Value: func(v control.Verdict) any { return v.ID.String() }, Name: true},
		{Header: "State", Value: func(v control.Verdict) any { return v.State }},
		{Header: "Queue", Value: func(v control.Verdict) any { return optional(v.Queue) }},
		{Header: "Task", Value: func(v control.Verdict) any { return optional(v.Task) }},
		{Header: "Key", Value: func(v control.Verdict) any { return optional(v.Key) }},
		{Header: "Reason", Value: func(v control.Verdict) any { return v.Reason }, Tone: func(control.Verdict) output.Tone { return output.Bad }},
		{Header: "Waits", Value: func(v control.Verdict) any { return v.Action == signing.Release }, Wide: true},
		{Header: "Detail", Value: func(v control.Verdict) any { return v.Detail }},
	},
}

type verifyOptions struct {
	id   arg.JobID
	dead bool
}

func newSigningVerify(a *App) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify jobs with these keys, and list those that would be refused",
		Long: "Verify every job that has not ended as a worker with these keys would, and list those that it would refuse, with the reason.\n" +
			"Nothing is changed. With --dead it is the dead letters, as if they were replayed. Exits 1 when there are any. Jobs of an unknown\n" +
			"key (\"waits\") are dead only after ten minutes. Schedules: stem schedule verify.",
		Example: "  stem signing verify\n  stem signing verify --dead --json\n  stem signing verify --id 0198f0c2-0000-7000-8000-000000000001",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd, "id", "dead"); err != nil {
				return err
			}
			return o.run(cmd, a)
		},
	}
	cmd.Flags().Var(&o.id, "id", "only this job, dead or not")
	cmd.Flags().BoolVar(&o.dead, "dead", false, "the dead letters")
	return cmd
}

func (o *verifyOptions) run(cmd *cobra.Command, a *App) error {
	ctx := cmd.Context()
	ring, err := a.ring()
	if err != nil {
		return err
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	if o.id != "" {
		return a.verifyOne(cmd, plane, ring, uuid.MustParse(string(o.id)))
	}
	states, count := []string{"ready", "scheduled", "running"}, int64(0)
	if o.dead {
		states = []string{"dead"}
	}
	if count, err = plane.CountJobs(ctx, control.Filter{States: states}); err != nil {
		return err
	}
	bar := a.Progress("verifying", int(count))
	defer bar.Stop()
	seen, refused := 0, 0
	err = output.List(a.Printer, &verdictSheet, func(yield func(control.Verdict, error) bool) {
		for v, err := range plane.Verify(ctx, ring, a.Config.UnsignedQueues, states...) {
			if err == nil {
				seen++
				bar.Add(1)
			}
			if err == nil && !v.Refused() {
				continue
			}
			refused++
			if !yield(v, err) {
				return
			}
		}
	})
	bar.Stop()
	if err != nil {
		return err
	}
	a.Printer.Note("verified %s under the policy %v for %s", counted(seen, "job"), ring.Policy(), ring.Audience())
	if refused > 0 {
		return fault.New(fault.ExitNotFound, "refused", "%d of %s would be refused", refused, counted(seen, "job"))
	}
	return nil
}

func (a *App) verifyOne(cmd *cobra.Command, plane *control.Plane, ring *signing.Ring, id uuid.UUID) error {
	v, err := plane.VerifyJob(cmd.Context(), ring, a.Config.UnsignedQueues, id)
	switch {
	case errors.Is(err, control.ErrNotFound):
		missing := notFound("job", id, "").Because(err)
		if job, err := plane.Job(cmd.Context(), id); err == nil {
			return missing.WithHint("it is %s: nobody verifies it any more", job.State)
		}
		return missing
	case err != nil:
		return err
	case !v.Refused():
		a.Printer.Note("job %s would run", id)
		return nil
	}
	if err := output.List(a.Printer, &verdictSheet, output.Rows([]control.Verdict{v})); err != nil {
		return err
	}
	return fault.New(fault.ExitNotFound, "refused", "job %s would be refused: %s: %s", id, v.Reason, v.Detail)
}
