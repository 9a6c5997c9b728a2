package signing

import "time"

// A Message is something that can be signed: a [*Job], [*Schedule], [*Result] or [*Control].
//
// Their fields are what is signed. What a row has not got is the zero value here and left out of the bytes; the fields that say
// "always" must be there. Times and durations are whole microseconds, as Postgres stores them: truncate them before signing.
type Message interface{ kind() kind }

// kind is what differs between the types of message besides their fields.
type kind struct {
	name      string
	mediaType string // separates the domains: a signature over one type is none over another
	use       Uses
}

// Job is what is signed of a job. A broadcast message is signed as a job of the queue "broadcast:<channel>".
type Job struct {
	ID       [16]byte          // always
	Task     string            // always
	Queue    string            // always
	Codec    string            // always: the media type of the payload
	Payload  []byte            // always, may be empty: the bytes that are stored; their hash is signed
	Headers  map[string]string // always, may be empty
	RunAt    time.Time         // when the producer gave an instant
	Delay    time.Duration     // when the producer gave a delay; not with RunAt
	IssuedAt time.Time         // always: the producer's clock

	ExpiresAt      time.Time
	NominalAt      time.Time     // when the schedule meant it to fire
	Priority       int           // always, may be 0
	MaxAttempts    int           // always, may be 0
	HardLimit      time.Duration // 0 is none
	SoftLimit      time.Duration // 0 is none
	UniqueKey      []byte        // nil is none
	Origin         string        // always: "app", "schedule:<id>", "replay:<old id>" or "job:<parent id>"
	PayloadVersion int           // 0 is none
	Group          string        // "" is none
}

func (*Job) kind() kind { return kind{"job", "application/vnd.stem.job.v1", UseJob} }

func (j *Job) encode(e *encoder) {
	e.id(4, "id", j.ID)
	e.name(5, "task", j.Task)
	e.name(6, "queue", j.Queue)
	e.text(7, "codec", j.Codec, maxName)
	e.content(8, j.Payload)
	e.headers(9, j.Headers)
	if !j.RunAt.IsZero() && j.Delay != 0 {
		e.fail("run_at and delay exclude each other")
	}
	e.instant(10, "run_at", j.RunAt)
	if j.IssuedAt.IsZero() {
		e.fail("issued_at is missing")
	}
	e.instant(11, "issued_at", j.IssuedAt)
	e.instant(12, "expires_at", j.ExpiresAt)
	e.int32(13, "priority", j.Priority)
	e.int32(14, "max_attempts", j.MaxAttempts)
	e.duration(15, "hard limit", j.HardLimit)
	if j.UniqueKey != nil {
		e.bytes(16, "unique key", j.UniqueKey, maxUniqueKey)
	}
	e.text(17, "origin", j.Origin, maxLabel)
	e.duration(18, "delay", j.Delay)
	e.instant(19, "nominal_at", j.NominalAt)
	if j.PayloadVersion != 0 {
		e.int32(20, "payload_version", j.PayloadVersion)
	}
	e.duration(21, "soft limit", j.SoftLimit)
	e.optional(22, "group", j.Group, maxLabel)
}

// Schedule is what is signed of a schedule when it is applied.
type Schedule struct {
	ID          string            // always
	Task        string            // always
	Queue       string            // always
	Codec       string            // always: the media type of the payload
	Payload     []byte            // always, may be empty
	Headers     map[string]string // always, may be empty
	Version     int64             // always
	Spec        string            // always: the text that is stored
	Zone        string            // "" is none
	Priority    int               // always, may be 0
	MaxAttempts int               // always, may be 0
	HardLimit   time.Duration     // 0 is none
	SoftLimit   time.Duration     // 0 is none
	Start       time.Time
	End         time.Time
	Enabled     bool          // always
	Policies    string        // the text that is stored; "" is none
	Jitter      time.Duration // 0 is none
}

func (*Schedule) kind() kind {
	return kind{"schedule", "application/vnd.stem.schedule.v1", UseSchedule}
}

func (s *Schedule) encode(e *encoder) {
	e.name(4, "id", s.ID)
	e.name(5, "task", s.Task)
	e.name(6, "queue", s.Queue)
	e.text(7, "codec", s.Codec, maxName)
	e.content(8, s.Payload)
	e.headers(9, s.Headers)
	e.int64(10, s.Version)
	e.text(11, "spec", s.Spec, maxText)
	e.optional(12, "zone", s.Zone, maxName)
	e.int32(13, "priority", s.Priority)
	e.int32(14, "max_attempts", s.MaxAttempts)
	e.duration(15, "hard limit", s.HardLimit)
	e.duration(16, "soft limit", s.SoftLimit)
	e.instant(17, "start", s.Start)
	e.instant(18, "end", s.End)
	e.bool(19, s.Enabled)
	e.optional(20, "policies", s.Policies, maxText)
	e.duration(21, "jitter", s.Jitter)
}

// Result is what is signed of the result of a job, for the jobs that read it.
type Result struct {
	JobID      [16]byte // always
	Generation int      // always
	Attempt    int      // always
	ClaimID    [16]byte // always
	Outcome    string   // always
	Result     []byte   // always, may be empty; its hash is signed
	Codec      string   // always: the media type of the result
}

func (*Result) kind() kind { return kind{"result", "application/vnd.stem.result.v1", UseResult} }

func (r *Result) encode(e *encoder) {
	e.id(4, "job id", r.JobID)
	e.int32(5, "generation", r.Generation)
	e.int32(6, "attempt", r.Attempt)
	e.id(7, "claim id", r.ClaimID)
	e.name(8, "outcome", r.Outcome)
	e.content(9, r.Result)
	e.text(10, "codec", r.Codec, maxName)
}

// Control is what is signed of a command to workers.
type Control struct {
	ID       [16]byte      // always
	Verb     string        // always
	Target   string        // always: a worker, or "*"
	Argument []byte        // always, may be empty; its hash is signed
	IssuedAt time.Time     // always
	TTL      time.Duration // always: how long after IssuedAt a worker may obey
	Nonce    [16]byte      // always
	Issuer   string        // always: who gave the command
}

func (*Control) kind() kind { return kind{"control", "application/vnd.stem.control.v1", UseControl} }

func (c *Control) encode(e *encoder) {
	e.id(4, "id", c.ID)
	e.name(5, "verb", c.Verb)
	e.text(6, "target", c.Target, maxLabel)
	e.content(7, c.Argument)
	if c.IssuedAt.IsZero() {
		e.fail("issued_at is missing")
	}
	e.instant(8, "issued_at", c.IssuedAt)
	if c.TTL == 0 {
		e.fail("ttl is missing")
	}
	e.duration(9, "ttl", c.TTL)
	e.id(10, "nonce", c.Nonce)
	e.text(11, "issuer", c.Issuer, maxLabel)
}
