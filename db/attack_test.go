package db_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// A siege is a database at work, whose state is known, and somebody who logs in with a stolen password. He knows every id, every
// envelope with its signature, every name; not the epochs and the claims of others, which no function tells him.
type siege struct {
	l      *lab
	friend hand // a worker that holds jobs["running"]
	claim  uuid.UUID
	jobs   map[string]uuid.UUID // by what they are
	before map[string]string    // what sight says at the beginning
}

// sight is everything that must stay as it is, by job: the envelope, and where it is.
const sight = `
	select j.id, md5(to_jsonb(j)::text) || ' ' || coalesce(
		(select string_agg('ready', ' ') from stem.ready r where r.job_id = j.id),
		(select string_agg('scheduled for ' || s.run_at || ' after ' || s.attempt, ' ') from stem.scheduled s where s.job_id = j.id),
		(select 'running as ' || r.claim_id || ' by ' || r.worker || ' cancel ' || coalesce(r.cancel_at::text, 'no') from stem.running r where r.job_id = j.id),
		(select 'dead, ' || md5(to_jsonb(d)::text) from stem.dead d where d.id = j.id),
		(select string_agg('finished, ' || md5(to_jsonb(f)::text), ' ') from stem.finished f where f.job_id = j.id),
		'nowhere')
	from stem.jobs j where j.id = any ($1)`

// trail records each place that a job comes to.
const trail = `
	create table public.trail (n bigint generated always as identity, job uuid, place text);
	create function public.note() returns trigger language plpgsql security definer as $$ begin
		insert into public.trail (job, place) values (coalesce(to_jsonb(new) ->> 'job_id', to_jsonb(new) ->> 'id')::uuid, tg_argv[0]);
		return null;
	end $$;
	create trigger note after insert on stem.ready for each row execute function public.note('waits');
	create trigger note after insert on stem.scheduled for each row execute function public.note('waits');
	create trigger note after insert on stem.running for each row execute function public.note('runs');
	create trigger note after insert on stem.finished for each row execute function public.note('finished');`

func besiege(t *testing.T) *siege { t.Helper(); return besiegeIn(t, open(t)) }

func besiegeIn(t *testing.T, l *lab) *siege {
	t.Helper()
	s := &siege{l: l, friend: l.hire(t), jobs: map[string]uuid.UUID{}, before: map[string]string{}}
	signed := func(what, queue string, changes ...func(*store.EnqueueOneParams)) uuid.UUID {
		id := newIDs()
		p := oneJob(id, append(changes, func(p *store.EnqueueOneParams) {
			p.Queue, p.Payload, p.Sig, p.SigKeyID, p.SigAlg = queue, []byte(`{"amount": 1}`), []byte(strings.Repeat("s", 32)), "k1", "hmac-sha256"
		})...)
		if _, err := store.New(l.me).EnqueueOne(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		s.jobs[what] = id
		return id
	}
	seize := func(n int) uuid.UUID {
		_, id := claimAs(t, l.me, claimParams(s.friend, n))
		return id
	}
	run(t, l.owner, "insert into stem.queues (name, keep_finished) values ('default', true)")
	done := signed("finished", "default")
	finish(t, l.me, s.friend, seize(1), done)
	run(t, l.owner, "update stem.queues set keep_finished = false")
	done = signed("finished, not kept", "default")
	finish(t, l.me, s.friend, seize(1), done)
	run(t, l.owner, "update stem.queues set keep_finished = true")
	dead := signed("dead", "default")
	putBack(t, l.me, s.friend, seize(1), verb{name: "discard", reason: "no", text: "an error"}, dead)
	failed := signed("failed, tried again tomorrow", "default")
	putBack(t, l.me, s.friend, seize(1), verb{name: "fail", delay: 86_400_000_000, text: "an error"}, failed)
	signed("running", "default")
	s.claim = seize(1)
	signed("due tomorrow", "default", func(p *store.EnqueueOneParams) {
		p.RunAt = pgtype.Timestamptz{Time: time.Now().Add(24 * time.Hour), Valid: true}
	})
	signed("due in an hour", "default", func(p *store.EnqueueOneParams) { p.DelayUs = 3_600_000_000 })
	signed("paused", "held")
	run(t, l.owner, "insert into stem.queues (name, paused, paused_since) values ('held', true, now())")
	// Schedules whose last jobs they did not make: a scheduler may have written that.
	for i, id := range slices.Collect(maps.Values(s.jobs)) {
		run(t, l.owner, `insert into stem.schedules (id, version, enabled, spec, zone, policies, jitter_us, task, queue, codec, payload, priority, max_attempts, last_job, next_at, due_at)
			values ($1, 1, true, '{}', 'UTC', '{}', 0, 't', 'default', 'c', '', 5, 1, $2, now(), now())`, string(rune('a'+i)), id)
	}
	run(t, l.owner, trail)
	maps.Copy(s.before, s.look(t))
	for range 20 {
		enqueue(t, l.me, 1, "")
	}
	return s
}

// look is sight by what the jobs are.
func (s *siege) look(t *testing.T) map[string]string {
	t.Helper()
	rows, err := s.l.owner.Query(t.Context(), sight, slices.Collect(maps.Values(s.jobs)))
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		ID   uuid.UUID
		Text string
	}])
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, row := range list {
		for what, id := range s.jobs {
			if id == row.ID {
				seen[what] += row.Text
			}
		}
	}
	return seen
}

// damage is what the attack has achieved.
func (s *siege) damage(t *testing.T) (list []string) {
	t.Helper()
	seen := s.look(t)
	for what, was := range s.before {
		if seen[what] != was {
			list = append(list, fmt.Sprintf("the job that is %s: %s, was %s", what, seen[what], was))
		}
	}
	for _, id := range column[uuid.UUID](t, s.l.owner, `select distinct a.job from trail a join trail b on b.job = a.job and b.n > a.n
		where a.place = 'finished' and b.place <> 'finished'`) {
		list = append(list, fmt.Sprintf("job %s came back after it had finished", id))
	}
	for _, id := range column[uuid.UUID](t, s.l.owner, `select job_id from (select job_id from stem.ready union all select job_id from stem.scheduled
		union all select job_id from stem.running union all select id from stem.dead union all select job_id from stem.finished) x group by 1 having count(*) > 1`) {
		list = append(list, fmt.Sprintf("job %s is in %v", id, labtest.Places(t, s.l.owner, id)))
	}
	row, err := store.New(s.l.me).Heartbeat(t.Context(), store.HeartbeatParams{
		Worker: s.friend.id, Epoch: s.friend.epoch, Stats: []byte("{}"), Jobs: []uuid.UUID{s.jobs["running"]}, Claims: []uuid.UUID{s.claim},
	})
	if err != nil || !row.Alive || len(row.Lost)+len(row.Cancelled) > 0 {
		list = append(list, fmt.Sprintf("the friend's lease: %+v, %v", row, err))
	}
	return list
}

// An arsenal makes arguments: values of each type that may mean something here.
type arsenal struct {
	*rand.Rand
	values map[string][]string
}

func (s *siege) arsenal(t *testing.T, seed uint64) *arsenal {
	t.Helper()
	var ids []string
	for _, id := range s.jobs {
		ids = append(ids, id.String())
	}
	slices.Sort(ids)
	ids = append(ids, column[string](t, s.l.owner, "select job_id::text from stem.ready where queue = 'default' order by pos limit 4")...)
	heartbeat := one[string](t, s.l.owner, "select heartbeat_at::text from stem.workers where id = $1", s.friend.id)
	return &arsenal{rand.New(rand.NewPCG(seed, 1)), map[string][]string{
		"uuid": append(ids, s.friend.id.String(), s.friend.id.String(), uuid.NewString(), "00000000-0000-0000-0000-000000000000"),
		"text": {
			"default", "default", "held", "t", "u", "app", "application/json", "completed", "cancelled", "expired", "replaced", "fail", "discard", "reject",
			"release", "wait", "unknown_task", "", "k1", "hmac-sha256", "ready", "dead", "finished", strings.Repeat("a", 64),
		},
		"bigint": {"0", "1", "1", "2", "3", "-1", "100", "1000000", "-3600000000", "9223372036854775807"}, "integer": {"0", "1", "1", "2", "5", "100", "-1", "1000"},
		"smallint": {"0", "1", "2", "3", "5", "9", "100", "-1"}, "boolean": {"true", "false"}, "bytea": {`\x`, `\x7b7d`, `\x` + strings.Repeat("73", 32)},
		"jsonb": {"{}", `{"default": 100, "held": 100}`, `{"t": {}}`, "[]", "null"}, "interval": {"1 hour", "-1 hour", "0"},
		"p_ids": {"a", "b", "c", "d", "e", "f", "g", "h", "none"}, "p_schedules": {"a", "b", "none"}, "p_schedule": {"a", "b", "none"},
		"p_versions": {"1", "1", "2"}, "p_keep_us": {"3600000000", "86400000000", "0", "-1"}, "p_action": {"trigger", "backfill", "apply"},
		"p_outcomes":               {"fired", "skipped", "late", "completed", "cancelled", "expired", "completed", "cancelled", "expired", "done"},
		"timestamp with time zone": {"now", "-infinity", "infinity", "yesterday", "tomorrow", heartbeat, heartbeat},
	}}
}

// one is a literal of a type, or null. Of few arguments the name says more.
func (a *arsenal) one(name, kind string) string {
	element, many := strings.CutSuffix(kind, "[]")
	values := a.values[element]
	if words, known := a.values[name]; known {
		values = words
	}
	if a.IntN(8) == 0 {
		return "null::" + kind
	}
	pick := func() string { return "'" + values[a.IntN(len(values))] + "'" }
	if !many {
		return pick() + "::" + kind
	}
	var list []string
	for range 1 + a.IntN(3) {
		list = append(list, pick())
	}
	return "array[" + strings.Join(list, ", ") + "]::" + kind
}

// assault calls every function that the role may call, n times each with whatever comes, and the doors of enqueue with every
// envelope there is, as it is and altered.
func (s *siege) assault(t *testing.T, c *pgx.Conn, seed uint64, n int) {
	t.Helper()
	run(t, c, "set statement_timeout = '1min'; set client_min_messages = error")
	a := s.arsenal(t, seed)
	type function struct {
		Name        string
		Args, Names []string
	}
	rows, err := c.Query(t.Context(), `select p.proname, array(select format_type(x.t, null) from unnest(p.proargtypes) with ordinality x(t, ord) order by x.ord), coalesce(p.proargnames, '{}')
		from pg_proc p where p.pronamespace = 'stem'::regnamespace and has_function_privilege(p.oid, 'execute') and p.prorettype <> 'trigger'::regtype order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	if err != nil || len(functions) == 0 {
		t.Fatalf("%d functions, %v", len(functions), err)
	}
	worked := map[string]int{}
	try := func(name, statement string) {
		switch _, err := c.Exec(t.Context(), statement, pgx.QueryExecModeExec); code(err) {
		case "":
			if err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
			worked[name]++
		case "42501", "42883", "42601", "57014":
			t.Errorf("%s: %v", statement, err)
		}
	}
	for range n {
		for _, f := range functions {
			args := make([]string, len(f.Args))
			for i, kind := range f.Args {
				args[i] = a.one(f.Names[i], kind)
			}
			try(f.Name, "select * from stem."+f.Name+"("+strings.Join(args, ", ")+")")
		}
	}
	if slices.ContainsFunc(functions, func(f function) bool { return f.Name == "enqueue_one" }) {
		s.forge(t, try)
		if worked["enqueue_one"] == 0 || worked["enqueue_many"] == 0 {
			t.Error("nothing could be forged: the envelopes have no sense")
		}
	}
	for _, f := range functions {
		if worked[f.Name] == 0 && f.Name != "complete" && len(f.Args) < 9 { // for complete he has no claim, and others want too much to agree
			t.Errorf("stem.%s never got anywhere: its arguments have no sense", f.Name)
		}
	}
}

// forge enqueues each known envelope again: as it is, and with one thing changed.
func (s *siege) forge(t *testing.T, try func(name, statement string)) {
	t.Helper()
	const envelopes = ` from jsonb_to_record($q$%[2]s$q$::jsonb || $q$%[3]s$q$::jsonb) j(task text, queue text, payload bytea, codec text, headers jsonb, priority int2,
		run_at timestamptz, delay_us bigint, expires_at timestamptz, max_attempts int2, unique_key bytea, unique_scope int2, origin text, issued_at timestamptz,
		sig bytea, sig_key_id text, sig_alg text)`
	const single = `select stem.enqueue_one(%[1]s, j.task, j.queue, j.payload, j.codec, j.headers, j.priority, j.run_at, j.delay_us, null, j.expires_at, j.max_attempts,
		null, null, j.unique_key, j.unique_scope, null, true, j.origin, null, null, j.issued_at, j.sig, j.sig_key_id, j.sig_alg, false)` + envelopes
	const bulk = `select stem.enqueue_many(array[%[1]s, stem.uuid7()], array[j.task], array[j.queue], array[j.payload], array[j.codec], array[j.headers], array[j.priority],
		array[j.run_at], array[j.delay_us], null, array[j.expires_at], array[j.max_attempts], null, null, array[j.unique_key, null], array[j.unique_scope, 0::int2], null,
		array[true, true], array[j.origin], null, null, array[j.issued_at], array[j.sig, j.sig], array[j.sig_key_id], array[j.sig_alg], true)` + envelopes
	for _, id := range slices.SortedFunc(maps.Values(s.jobs), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }) {
		envelope := one[string](t, s.l.owner, "select to_jsonb(j)::text from stem.jobs j where id = $1", id)
		for _, change := range []string{
			`{}`, `{"payload": "\\x7b7d"}`, `{"task": "u"}`, `{"queue": "other"}`, `{"run_at": null}`, `{"delay_us": 0}`, `{"run_at": null, "delay_us": null}`,
			`{"max_attempts": 1}`, `{"sig": null, "sig_key_id": null, "sig_alg": null}`, `{"unique_key": "\\x61", "unique_scope": 2}`, `{"priority": 9}`,
		} {
			try("enqueue_one", fmt.Sprintf(single, "'"+id.String()+"'::uuid", envelope, change))
			try("enqueue_many", fmt.Sprintf(bulk, "'"+id.String()+"'::uuid", envelope, change))
		}
		// Under another id it is another job, for which the signature does not hold.
		try("enqueue_one", fmt.Sprintf(single, "stem.uuid7()", envelope, "{}"))
		try("enqueue_many", fmt.Sprintf(bulk, "stem.uuid7()", envelope, "{}"))
	}
}

// TestAStolenPasswordDoesNotMoveAJob: whatever a producer, a worker, a scheduler or an observer calls, no job changes, none runs before
// its time or again after it finished, none is taken from the worker that runs it, and none leaves a paused queue.
func TestAStolenPasswordDoesNotMoveAJob(t *testing.T) {
	t.Parallel()
	for _, role := range db.Roles() {
		name := strings.TrimPrefix(role.Name, "stem_")
		if name == "operator" || name == "admin" {
			continue // who may do all that: cancel, replay, pause
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := besiege(t)
			c := s.l.as(t, name)
			for _, seed := range []uint64{1, 2, 3} {
				s.assault(t, c, seed, 60)
				for _, d := range s.damage(t) {
					t.Error(d)
				}
			}
			if name == "worker" {
				s.asAWorker(t, c)
			}
			// The friend has not noticed anything.
			if done := finish(t, s.l.me, s.friend, s.claim, s.jobs["running"]); len(done) != 1 {
				t.Error("the friend cannot finish its job")
			}
		})
	}
}

// asAWorker is what a worker's password does by design, and no more: claims what is ready, settles it without running it, delays it.
func (s *siege) asAWorker(t *testing.T, c *pgx.Conn) {
	t.Helper()
	me := hand{id: uuid.New()}
	row, err := store.New(c).Register(t.Context(), store.RegisterParams{
		Worker: me.id, Node: "evil", Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v", LeaseUs: 86_400_000_000, Slots: []byte(`{"held": 9}`), Tasks: []byte("{}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	me.epoch = row.Epoch
	enqueue(t, s.l.me, 10, "")
	rows, id := claimAs(t, c, claimParams(me, 100))
	if len(rows) < 10 {
		t.Errorf("claimed %d", len(rows))
	}
	jobs := jobsOf(rows)
	finish(t, c, me, id, jobs[:3]...)
	for i, v := range []verb{{name: "fail", delay: -1}, {name: "release", delay: -86_400_000_000}, {name: "wait", grace: -1}, {name: "release", delay: 86_400_000_000}} {
		putBack(t, c, me, id, v, jobs[3+i])
	}
	// Once more what is settled, and what is not his.
	for _, own := range []uuid.UUID{id, s.friend.id, uuid.New()} {
		finish(t, c, me, own, jobs...)
		finish(t, c, s.friend, own, s.jobs["running"], s.jobs["finished"], s.jobs["dead"])
		putBack(t, c, s.friend, own, verb{name: "release"}, slices.Collect(maps.Values(s.jobs))...)
	}
	for _, guess := range []int64{0, 1, 2, 3, s.friend.epoch - 1, s.friend.epoch + 1} {
		run(t, c, "select stem.deregister($1, $2), stem.set_idle($1, $2, '{default}')", s.friend.id, guess)
		if guess != s.friend.epoch-1 { // raise_epoch may be repeated, and takes the one after as well
			run(t, c, "select stem.raise_epoch($1, $2)", s.friend.id, guess)
		}
	}
	for _, d := range s.damage(t) {
		t.Error(d)
	}
}

// TestTheSiegeSeesBreaches: with a hole in one of the functions, the attack gets through it.
func TestTheSiegeSeesBreaches(t *testing.T) {
	t.Parallel()
	for name, hole := range map[string][]string{
		"epochs are guessed":              {"register", "coalesce(p_epoch, ", "coalesce(1, "},
		"finish without the claim":        {"finish", "where x.job_id = u.job_id and x.claim_id = u.claim_id", "where x.job_id = u.job_id"},
		"put_back without the claim":      {"put_back", "where x.job_id = u.job_id and x.claim_id = u.claim_id", "where x.job_id = u.job_id"},
		"complete without the claim":      {"complete", "where x.job_id = p_job and x.claim_id = p_claim", "where x.job_id = p_job"},
		"void_claim without the claim":    {"void_claim", "where r.worker = p_worker and r.claim_id = p_claim", "where r.worker = p_worker"},
		"lost before the lease is over":   {"declare_lost", "and w.lease_until < clock_timestamp()", "", "exists (select from me)", "true"},
		"due before its time":             {"due", "where s.run_at <= statement_timestamp()", "where true"},
		"an id is enqueued twice":         {"enqueue_one", "insert into stem.jobs (", "delete from stem.jobs j where j.id = p_id; insert into stem.jobs ("},
		"a pause that strays step over":   {"drop_strays", "where exists (select from stem.running x where x.job_id = l.job_id)", "where true or exists (select from stem.running x where x.job_id = l.job_id)"},
		"a heartbeat that forgets claims": {"heartbeat", "v_alive := found;", "v_alive := found; update stem.running r set cancel_at = now() where r.job_id = any (p_jobs);"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			function := hole[0]
			l := open(t)
			l.mutate(t, function, hole[1:]...)
			s := besiegeIn(t, l)
			c := l.as(t, "worker")
			for seed := range uint64(40) {
				s.assault(t, c, seed, 60)
				if len(s.damage(t)) > 0 {
					return
				}
			}
			t.Error("the attack does not see it")
		})
	}
}
