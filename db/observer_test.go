package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

// secret stands in every payload, header, result and error text.
const secret = "xyzzy"

// ears hear everything that a connection is told: rows, notices, errors.
type ears struct {
	*pgx.Conn
	heard []string
}

func (l *lab) listen(t *testing.T, role string) *ears {
	t.Helper()
	e := &ears{}
	config, err := pgx.ParseConfig(pgtest.Login(t, l.url, role))
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		e.heard = append(e.heard, strings.Join([]string{n.Message, n.Detail, n.Hint, n.Where}, " "))
	}
	if e.Conn, err = pgx.ConnectConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(t.Context()) })
	return e
}

// ask runs a statement and returns what was told that holds the secret. Rows are text: bytes are written as such by escape.
func (e *ears) ask(t *testing.T, statement string) (secrets []string, rows int, err error) {
	t.Helper()
	e.heard = nil
	results, err := e.PgConn().Exec(t.Context(), statement).ReadAll()
	for _, r := range results {
		rows += len(r.Rows)
		for _, row := range r.Rows {
			for _, value := range row {
				e.heard = append(e.heard, string(value))
			}
		}
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		e.heard = append(e.heard, strings.Join([]string{pe.Message, pe.Detail, pe.Hint, pe.Where, pe.InternalQuery}, " "))
	}
	for _, text := range e.heard {
		if strings.Contains(text, secret) {
			secrets = append(secrets, text)
		}
	}
	return secrets, rows, err
}

// confide puts the secret everywhere it can be: in jobs that wait, run, failed, are dead and finished, in statistics, and in the
// texts of another session's statements.
func confide(t *testing.T, l *lab) {
	t.Helper()
	const options = "args => '{\"password\": \"" + secret + "\"}', headers => '{\"token\": \"" + secret + "\"}', unique_key => '" + secret + "' || "
	for i := range 12 {
		run(t, l.me, fmt.Sprintf("select stem.enqueue('t', %s '%d')", options, i))
	}
	run(t, l.me, "select stem.enqueue('t', delay => '1 hour', "+options+"'later')")
	w := l.hire(t)
	rows, id := claimAs(t, l.me, claimParams(w, 10))
	jobs := jobsOf(rows)
	p := finishParams(w, id, jobs[:3], "completed")
	p.Results = repeat([]byte(secret), 3)
	if _, err := finishJobs(t.Context(), l.me, p); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"fail", "discard", "reject"} {
		putBack(t, l.me, w, id, verb{name: name, delay: 3_600_000_000, age: 5, reason: "because", text: "no such user " + secret}, jobs[3+i])
	}
	run(t, l.as(t, "operator"), "select stem.cancel($1, 'test')", jobs[6:7])
	if _, err := store.New(l.me).Heartbeat(t.Context(), store.HeartbeatParams{Worker: w.id, Epoch: w.epoch, Stats: []byte(`{"inflight": 4}`)}); err != nil {
		t.Fatal(err)
	}
	run(t, l.owner, "analyze")
	other := l.connect(t) // stays, with this as its last statement
	if _, err := other.PgConn().Exec(t.Context(), "select stem.enqueue('t', "+options+"'last')").ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// looks are the ways to look: every view and table that the catalog knows, and what the observer's functions return.
const looks = `
	select format('select * from %s', c.oid::regclass) from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind in ('r', 'p', 'v', 'm') and n.nspname in ('stem', 'pg_catalog', 'information_schema', 'public')
	  and c.relname <> 'element_types' -- 5 s, for nothing that is not in the others
	union all
	select format('select * from stem.%s(%s)', p.proname, (select string_agg(case
			when a.t::regtype::text = 'integer' then '10000' else 'null::' || a.t::regtype end, ', ' order by a.ord)
			from unnest(p.proargtypes) with ordinality a(t, ord)))
	from pg_proc p where p.pronamespace = 'stem'::regnamespace and p.prorettype <> 'trigger'::regtype`

// TestAnObserverReadsNoSecret: no view, function, error, statistic or list of sessions tells an observer what is in a payload, a
// header, a key, a result or an error text; nor do the functions of its own that it has the planner run early.
func TestAnObserverReadsNoSecret(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"observer", "producer", "operator"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			confide(t, l)
			e := l.listen(t, role)
			run(t, e, "set bytea_output = escape; set client_min_messages = debug1; set statement_timeout = '20s'")
			var leaks []string
			rows, answers := 0, 0
			statements := append(column[string](t, l.owner, looks), leaky...)
			for _, statement := range statements {
				secrets, n, err := e.ask(t, statement)
				if len(secrets) > 0 {
					leaks = append(leaks, fmt.Sprintf("%s: %.200q", statement, secrets[0]))
				}
				if rows += n; err == nil {
					answers++
				}
			}
			if role == "operator" { // who may see them; so it is known that this test would
				if len(leaks) < 2 {
					t.Errorf("an operator is told %d secrets: this test hears nothing", len(leaks))
				}
				return
			}
			for _, leak := range leaks {
				t.Error(leak)
			}
			if len(statements) < 300 || answers < 100 || rows < 1000 {
				t.Errorf("%d of %d statements were answered, with %d rows", answers, len(statements), rows)
			}
		})
	}
}

// leaky are functions that the planner would like to run below a view's joins, and questions that provoke errors and plans.
var leaky = []string{
	`create function pg_temp.tell(anyelement) returns boolean language plpgsql cost 0.0000001 as $$ begin raise notice '%', $1; return true; end $$`,
	`select count(*) from stem.job_status where pg_temp.tell(task) and pg_temp.tell(reason) and pg_temp.tell(job_id)`,
	`create function pg_temp.tell(text, text) returns boolean language plpgsql cost 0.0000001 as $$ begin raise notice '% %', $1, $2; return true; end $$`,
	`create operator pg_temp.<<< (leftarg = text, rightarg = text, function = pg_temp.tell)`,
	`select count(*) from stem.job_status where task operator(pg_temp.<<<) 'a'`,
	`select count(*) from stem.job_status j where exists (select from stem.job_status k where pg_temp.tell(k.*::text) and k.job_id = j.job_id)`,
	`explain (analyze, verbose, costs off, timing off) select * from stem.job_status where pg_temp.tell(task)`,
	`select 1 / (case when task = 't' then 0 else 1 end) from stem.job_status`,
	`select task::int from stem.job_status`,
	`select * from stem.job_status s join pg_stats p on true where p.schemaname = 'stem'`,
	`select most_common_vals::text, histogram_bounds::text from pg_stats where schemaname = 'stem'`,
	`select query from pg_stat_activity where query like '%stem%'`,
	`select * from stem.list_jobs(null, null, 't''; select payload from stem.jobs --', null, null, null, null, null, 10, 100)`,
	`select * from stem.list_jobs(array['nonsense'], null, null, null, null, null, null, null, 10, 100)`,
	`select row_to_json(w) from stem.list_workers(null) w`, `select row_to_json(t) from stem.list_tasks(null) t`,
	`select row_to_json(q) from stem.list_queues(null) q`, `select table_to_xml('stem.jobs', true, false, '')`, `select query_to_xml('table stem.dead', true, false, '')`,
	`select cursor_to_xml('c', 1, true, false, '')`, `select pg_get_viewdef('stem.job_payloads'::regclass)`, `select lo_import('/etc/passwd')`,
	`select * from pg_get_publication_tables('x')`, `select pg_relation_filepath('stem.jobs'), pg_table_size('stem.jobs')`,
	`select * from pg_logical_slot_peek_changes('x', null, null)`, `select encode(pg_read_binary_file(pg_relation_filepath('stem.dead')), 'escape')`,
}

// TestAnObserverSees what it is for.
func TestAnObserverSees(t *testing.T) {
	t.Parallel()
	l := open(t)
	confide(t, l)
	e := l.listen(t, "observer")
	for statement, want := range map[string]string{
		"select string_agg(distinct state, ' ' order by state) from stem.job_status":                          "completed dead ready running scheduled",
		"select ready::text || ' ' || dead::text from stem.list_queues('default')":                            "3 2",
		"select sum(matched)::text from stem.count_jobs(null, null, 't', null, null, null, null, null, 1000)": "14",
	} {
		if got := one[string](t, e, statement); got != want {
			t.Errorf("%s: got %s, want %s", statement, got, want)
		}
	}
	if age := one[time.Duration](t, e, "select make_interval(secs => silent_us / 1e6) from stem.list_workers(null)"); age < 0 || age > time.Minute {
		t.Errorf("silent for %s", age)
	}
}
