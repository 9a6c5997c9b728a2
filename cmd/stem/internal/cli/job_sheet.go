package cli

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/signing/encryption"
)

var jobSheet = output.Sheet[control.Job]{Noun: "job", Columns: []output.Column[control.Job]{
	{Header: "ID", Value: func(j control.Job) any { return j.ID.String() }, Name: true},
	{Header: "State", Value: func(j control.Job) any { return j.State }, Tone: func(j control.Job) output.Tone { return stateTone(j.State) }},
	{Header: "Queue", Value: func(j control.Job) any { return j.Queue }},
	{Header: "Task", Value: func(j control.Job) any { return j.Task }},
	{Header: "Attempt", Value: func(j control.Job) any { return j.Attempt }},
	{Header: "Created at", Value: func(j control.Job) any { return j.CreatedAt }},
	{Header: "Due at", Value: func(j control.Job) any { return j.DueAt }, Wide: true},
	{Header: "Claimed at", Value: func(j control.Job) any { return j.ClaimedAt }, Wide: true},
	{Header: "Ended at", Value: func(j control.Job) any { return j.EndedAt }, Wide: true},
	{Header: "Worker", Value: func(j control.Job) any { return optionalID(j.Worker) }, Wide: true},
	{Header: "Reason", Value: func(j control.Job) any { return optional(j.Reason) }, Wide: true},
	{Header: "Priority", Value: func(j control.Job) any { return j.Priority }, Data: true},
	{Header: "Max attempts", Value: func(j control.Job) any { return j.MaxAttempts }, Data: true},
	{Header: "Failures", Value: func(j control.Job) any { return j.Failures }, Data: true},
	{Header: "Crashes", Value: func(j control.Job) any { return j.Crashes }, Data: true},
	{Header: "Releases", Value: func(j control.Job) any { return j.Releases }, Data: true},
	{Header: "Generation", Value: func(j control.Job) any { return j.Generation }, Data: true},
	{Header: "Cancel at", Value: func(j control.Job) any { return j.CancelAt }, Data: true},
	{Header: "Started at", Value: func(j control.Job) any { return j.StartedAt }, Data: true},
	{Header: "Expires at", Value: func(j control.Job) any { return j.ExpiresAt }, Data: true},
	{Header: "Origin", Value: func(j control.Job) any { return optional(j.Origin) }, Data: true},
	{Header: "Group", Value: func(j control.Job) any { return optional(j.Group) }, Data: true},
}}

var attemptSheet = output.Sheet[control.Attempt]{
	Noun: "attempt that went wrong", Plural: "attempts that went wrong",
	Columns: []output.Column[control.Attempt]{
		{Header: "Attempt", Value: func(t control.Attempt) any { return t.Attempt }, Name: true},
		{Header: "Outcome", Value: func(t control.Attempt) any { return t.Outcome }},
		{Header: "Ended at", Value: func(t control.Attempt) any { return t.EndedAt }},
		{Header: "Took", Value: func(t control.Attempt) any { return took(t) }, Wide: true},
		{Header: "Generation", Value: func(t control.Attempt) any { return t.Generation }, Wide: true},
		{Header: "Worker", Value: func(t control.Attempt) any { return optionalID(t.Worker) }, Wide: true},
		{Header: "Fingerprint", Value: func(t control.Attempt) any { return optional(t.Fingerprint) }, Wide: true},
		{Header: "Started at", Value: func(t control.Attempt) any { return t.StartedAt }, Data: true},
		{Header: "Error", Value: func(t control.Attempt) any { return optional(t.Error) }},
	},
}

func took(t control.Attempt) *time.Duration {
	if t.StartedAt.IsZero() || t.EndedAt.IsZero() {
		return nil
	}
	d := t.EndedAt.Sub(t.StartedAt)
	return &d
}

// detailSheet is all of a job, a dead letter too.
var detailSheet = output.Sheet[control.Detail]{Noun: "job", Columns: detailColumns()}

func detailColumns() []output.Column[control.Detail] {
	var columns []output.Column[control.Detail]
	for _, c := range jobSheet.Columns {
		from := output.Column[control.Detail]{
			Header: c.Header, Name: c.Name,
			Value: func(d control.Detail) any { return c.Value(d.Job) },
		}
		if c.Tone != nil {
			from.Tone = func(d control.Detail) output.Tone { return c.Tone(d.Job) }
		}
		columns = append(columns, from)
	}
	more := func(header string, value func(d control.Detail) any) {
		columns = append(columns, output.Column[control.Detail]{Header: header, Value: value})
	}
	more("Ahead", func(d control.Detail) any {
		if d.Ahead < 0 {
			return nil
		}
		return d.Ahead
	})
	more("Run at", func(d control.Detail) any { return d.RunAt })
	more("Delay", func(d control.Detail) any { return optionalSpan(d.Delay) })
	more("Nominal at", func(d control.Detail) any { return d.NominalAt })
	more("Hard limit", func(d control.Detail) any { return optionalSpan(d.HardLimit) })
	more("Soft limit", func(d control.Detail) any { return optionalSpan(d.SoftLimit) })
	more("Unique key", func(d control.Detail) any { return readable(d.UniqueKey) })
	more("Unique scope", func(d control.Detail) any {
		return optional(map[int]string{1: "until started", 2: "until finished", 3: "period"}[d.UniqueScope])
	})
	more("Issued at", func(d control.Detail) any { return d.IssuedAt })
	more("Signature key", func(d control.Detail) any { return optional(d.SignatureKey) })
	more("Algorithm", func(d control.Detail) any { return optional(d.Algorithm) })
	more("Signature", func(d control.Detail) any { return optional(base64.StdEncoding.EncodeToString(d.Signature)) })
	more("Codec", func(d control.Detail) any { return optional(d.Codec) })
	more("Payload version", func(d control.Detail) any { return d.PayloadVersion })
	more("Headers", func(d control.Detail) any { return d.Headers })
	more("Payload", func(d control.Detail) any { return readable(d.Payload) })
	more("Encrypted", func(d control.Detail) any {
		_, sealed := encryption.Unwrap(d.Codec)
		return sealed
	})
	more("Result", func(d control.Detail) any { return readable(d.Result) })
	more("Error", func(d control.Detail) any { return optional(d.Error) })
	more("Fingerprint", func(d control.Detail) any { return optional(d.Fingerprint) })
	more("Attempts", func(d control.Detail) any { return output.Nest(&attemptSheet, d.Attempts) })
	return columns
}

func optionalSpan(d time.Duration) *time.Duration {
	if d == 0 {
		return nil
	}
	return &d
}

// readable is bytes as people can read them: JSON as it is, other text as a string, the rest in base64.
func readable(b []byte) any {
	switch {
	case len(b) == 0:
		return nil
	case !utf8.Valid(b):
		return "base64:" + base64.StdEncoding.EncodeToString(b)
	case json.Valid(b):
		return json.RawMessage(b)
	}
	return string(b)
}

func stateTone(state string) output.Tone {
	switch state {
	case "completed":
		return output.Good
	case "dead":
		return output.Bad
	case "cancelled", "expired", "replaced":
		return output.Faint
	}
	return output.Plain
}
