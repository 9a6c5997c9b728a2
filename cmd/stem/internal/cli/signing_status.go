package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/keylist"
	"github.com/stemqueue/stem/signing"
)

// keyStatus is how far the fleet agrees with this configuration about a key.
type keyStatus struct {
	ring    *signing.Ring
	key     signing.Key
	workers []workerKeys
}

// workerKeys is what one worker says.
type workerKeys struct {
	control.Worker
	agrees bool
	why    string
}

func (s keyStatus) agree() (n int) {
	for _, w := range s.workers {
		if w.agrees {
			n++
		}
	}
	return n
}

var keySheet = output.Sheet[signing.Key]{Noun: "key", Columns: []output.Column[signing.Key]{
	{Header: "ID", Value: func(k signing.Key) any { return k.ID }, Name: true},
	{Header: "Algorithm", Value: func(k signing.Key) any { return k.Algorithm }},
	{Header: "Fingerprint", Value: func(k signing.Key) any { return optional(k.Fingerprint) }},
	{Header: "Uses", Value: func(k signing.Key) any { return k.Uses.String() }},
	{Header: "State", Value: func(k signing.Key) any { return string(k.State) }},
	{Header: "Active for", Value: func(k signing.Key) any { return optional(k.Active.String()) }},
	{Header: "Can sign", Value: func(k signing.Key) any { return k.CanSign }},
	{Header: "Source", Value: func(k signing.Key) any { return k.Source }, Wide: true},
}}

var workerKeySheet = output.Sheet[workerKeys]{Noun: "worker", Columns: []output.Column[workerKeys]{
	{Header: "Node", Value: func(w workerKeys) any { return w.Node }, Name: true},
	{Header: "PID", Value: func(w workerKeys) any { return w.PID }},
	{Header: "ID", Value: func(w workerKeys) any { return w.ID.String() }, Wide: true},
	{Header: "Host", Value: func(w workerKeys) any { return w.Host }, Wide: true},
	{Header: "Policy", Value: func(w workerKeys) any {
		if w.Signing == nil {
			return nil
		}
		return w.Signing.Policy
	}},
	{Header: "Keys", Value: func(w workerKeys) any {
		keys := []string{}
		if w.Signing != nil {
			for _, k := range w.Signing.Keys {
				keys = append(keys, k.ID+":"+k.Fingerprint)
			}
		}
		return keys
	}},
	{Header: "Agrees", Value: func(w workerKeys) any { return w.agrees }, Tone: func(w workerKeys) output.Tone {
		if w.agrees {
			return output.Good
		}
		return output.Bad
	}},
	{Header: "Why not", Value: func(w workerKeys) any { return optional(w.why) }},
}}

var keyStatusSheet = output.Sheet[keyStatus]{Noun: "key", Columns: []output.Column[keyStatus]{
	{Header: "Key", Value: func(s keyStatus) any { return s.key.ID }, Name: true},
	{Header: "Fingerprint", Value: func(s keyStatus) any { return optional(s.key.Fingerprint) }},
	{Header: "State", Value: func(s keyStatus) any { return string(s.key.State) }},
	{Header: "Policy", Value: func(s keyStatus) any { return s.ring.Policy().String() }},
	{Header: "Audience", Value: func(s keyStatus) any { return s.ring.Audience() }},
	{Header: "Live workers", Value: func(s keyStatus) any { return len(s.workers) }},
	{Header: "Agree", Value: func(s keyStatus) any { return s.agree() }},
	{Header: "Keys", Value: func(s keyStatus) any { return output.Nest(&keySheet, s.ring.Keys()) }},
	{Header: "Workers", Value: func(s keyStatus) any { return output.Nest(&workerKeySheet, s.workers) }},
}}

func newSigningStatus(a *App) *cobra.Command {
	var id arg.KeyID
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the keys, and whether every live worker accepts the active one",
		Long: "Show the keys of this configuration, and what the live workers of the namespace say of theirs in their heartbeats. Exits 1 until\n" +
			"every live worker accepts the active key, or that of --key: so the first step of a rotation can be watched before the\n" +
			"second is taken. Of a revoked key it exits 1 until no live worker accepts it any more.",
		Example: "  stem signing status\n  until stem signing status --key v2; do sleep 5; done",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.signingStatus(cmd.Context(), string(id)) },
	}
	cmd.Flags().Var(&id, "key", "ask about this key of the configuration (default: the active one)")
	return cmd
}

func (a *App) signingStatus(ctx context.Context, id string) error {
	ring, err := a.ring()
	if err != nil {
		return err
	}
	s := keyStatus{ring: ring}
	if s.key, err = askedKey(ring, id); err != nil {
		return err
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	workers, err := plane.Workers(ctx, a.Config.Namespace)
	if err != nil {
		return err
	}
	silent := 0
	for _, w := range workers {
		switch w.State {
		case "live":
			ok, why := w.Agrees(ring, s.key)
			s.workers = append(s.workers, workerKeys{w, ok, why})
		case "silent":
			silent++
		}
	}
	if err := output.One(a.Printer, &keyStatusSheet, s); err != nil {
		return err
	}
	if silent > 0 {
		a.Printer.Note("not asked: %s silent, and may come back with other keys", counted(silent, "worker"))
	}
	return a.agreed(s)
}

// agreed is the answer as an exit code.
func (a *App) agreed(s keyStatus) error {
	differ := len(s.workers) - s.agree()
	switch {
	case len(s.workers) == 0:
		return fault.New(fault.ExitNotFound, "no_workers", "no live worker in namespace %q: nobody says which keys it accepts", a.Config.Namespace).
			WithHint("is it the right namespace and database?")
	case differ == 0:
		return nil
	case s.key.State == signing.StateRevoked:
		return fault.New(fault.ExitNotFound, "key_accepted", "%d of %s may accept the revoked key %q", differ, counted(len(s.workers), "live worker"), s.key.ID)
	}
	return fault.New(fault.ExitNotFound, "key_missing", "%d of %s would refuse key %q", differ, counted(len(s.workers), "live worker"), s.key.ID)
}

// askedKey finds a key by its id, or the one that signs jobs.
func askedKey(ring *signing.Ring, id string) (signing.Key, error) {
	keys := ring.Keys()
	i := slices.IndexFunc(keys, func(k signing.Key) bool { return id == "" && k.Active&signing.UseJob != 0 || k.ID == id })
	switch {
	case i >= 0:
		return keys[i], nil
	case id == "":
		return signing.Key{}, fault.Config("no_signing_key", "no key of this configuration is active for jobs").About("STEM_SIGNING_ACTIVE_KEY").
			WithHint("set STEM_SIGNING_ACTIVE_KEY, or ask about one: --key %s", keys[0].ID)
	}
	var have []string
	for _, k := range keys {
		have = append(have, k.ID)
	}
	return signing.Key{}, fault.Usage("unknown_key", "--key: no key %s in this configuration (have %s)", keylist.QuoteID(id), strings.Join(have, ", ")).About("flag --key")
}
