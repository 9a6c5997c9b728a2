package db_test

import (
	"testing"

	"github.com/google/uuid"
)

// TestImpossibleRows writes, as the owner, what no row may be: the constraints refuse each.
func TestImpossibleRows(t *testing.T) {
	t.Parallel()
	l := open(t)
	base := map[string]map[string]string{
		"jobs": {
			"slot": "0", "id": "gen_random_uuid()", "queue": "'q'", "task": "'t'", "payload": "''", "priority": "5", "max_attempts": "20",
			"issued_at": "now()",
		},
		"ready":     {"queue": "'q'", "lane": "5", "pos": "1", "job_id": "gen_random_uuid()", "slot": "0", "max_attempts": "20"},
		"scheduled": {"run_at": "now()", "queue": "'q'", "lane": "5", "job_id": "gen_random_uuid()", "slot": "0", "max_attempts": "20"},
		"running": {
			"seq": "1", "pos": "1", "job_id": "gen_random_uuid()", "claim_id": "gen_random_uuid()", "worker": "gen_random_uuid()", "attempt": "1",
			"slot": "0", "lane": "5", "failures": "0", "crashes": "0", "releases": "0", "generation": "1", "max_attempts": "20", "queue": "'q'",
		},
		"finished":    {"slot": "0", "job_id": "gen_random_uuid()", "attempt": "1", "outcome": "'completed'"},
		"attempts":    {"slot": "0", "job_id": "gen_random_uuid()", "attempt": "1", "generation": "1", "outcome": "'failed'"},
		"unique_keys": {"key": "'k'", "job_id": "gen_random_uuid()", "scope": "2"},
		"queues":      {"name": "'q'"},
		"ring":        {"only_row": "true"},
		"ring_work":   {"only_row": "true"},
	}
	for _, c := range []struct{ table, column, value string }{
		{"jobs", "priority", "-1"},
		{"jobs", "priority", "10"},
		{"jobs", "max_attempts", "0"},
		{"jobs", "max_attempts", "1001"},
		{"jobs", "queue", "''"},
		{"jobs", "queue", "'a b'"},
		{"jobs", "queue", "repeat('q', 129)"},
		{"jobs", "queue", "E'q\\n'"},
		{"jobs", "task", "''"},
		{"jobs", "task", "'ä'"},
		{"jobs", "task", "null"},
		{"jobs", "codec", "''"},
		{"jobs", "codec", "repeat('c', 129)"},
		{"jobs", "run_at", "'infinity'"},
		{"jobs", "run_at", "'1969-12-31'"},
		{"jobs", "run_at", "'10000-01-01'"},
		{"jobs", "expires_at", "'infinity'"},
		{"jobs", "expires_at", "'-infinity'"},
		{"jobs", "nominal_at", "'infinity'"},
		{"jobs", "delay_us", "-1"},
		{"jobs", "delay_us", "31622400000001"},
		{"jobs", "hard_limit_us", "0"},
		{"jobs", "soft_limit_us", "-5"},
		{"jobs", "issued_at", "null"},
		{"jobs", "issued_at", "'infinity'"},
		{"jobs", "payload", "null"},
		{"jobs", "payload", "convert_to(repeat('x', 16777217), 'UTF8')"},
		{"jobs", "headers", "'[]'"},
		{"jobs", "headers", "'{\"a\": 1}'"},
		{"jobs", "headers", "'{\"a\": {}}'"},
		{"jobs", "headers", "jsonb_build_object('a', repeat('x', 1048576))"},
		{"jobs", "unique_key", "'k'"},
		{"jobs", "unique_scope", "2"},
		{"jobs", "unique_scope", "4"},
		{"jobs", "payload_version", "0"},
		{"jobs", "sig", "'12345'"},
		{"jobs", "sig_key_id", "'v1'"},
		{"jobs", "sig_alg", "'none'"},
		{"jobs", "slot", "8"},
		{"jobs", "origin", "''"},
		{"jobs", "group_name", "''"},
		{"jobs", "id", "null"},
		{"ready", "lane", "-1"},
		{"ready", "lane", "10"},
		{"ready", "lane", "110"},
		{"ready", "attempt", "-1"},
		{"ready", "failures", "-1"},
		{"ready", "crashes", "-1"},
		{"ready", "releases", "-1"},
		{"ready", "generation", "0"},
		{"ready", "slot", "8"},
		{"ready", "job_id", "null"},
		{"ready", "pos", "null"},
		{"ready", "max_attempts", "0"},
		{"scheduled", "run_at", "'infinity'"},
		{"scheduled", "run_at", "'9999-01-01'"},
		{"scheduled", "run_at", "null"},
		{"scheduled", "lane", "50"},
		{"running", "claim_id", "null"},
		{"running", "worker", "null"},
		{"running", "attempt", "0"},
		{"running", "failures", "-1"},
		{"running", "seq", "null"},
		{"running", "lane", "99"},
		{"running", "generation", "0"},
		{"finished", "outcome", "'done'"},
		{"finished", "attempt", "-1"},
		{"finished", "outcome", "null"},
		{"attempts", "outcome", "'completed'"},
		{"attempts", "fingerprint", "'abc'"},
		{"attempts", "error", "repeat('e', 65537)"},
		{"unique_keys", "scope", "3"},
		{"unique_keys", "scope", "0"},
		{"unique_keys", "key", "''"},
		{"unique_keys", "until", "now()"},
		{"queues", "name", "'a b'"},
		{"queues", "paused", "true"},
		{"ring", "only_row", "false"},
		{"ring", "only_row", "true"},
		{"ring", "period", "'1 minute'"},
		{"ring", "period", "'1 month'"},
		{"ring_work", "only_row", "false"},
		{"ring_work", "only_row", "true"},
		{"ring_work", "phase", "4"},
	} {
		var columns, values string
		row := map[string]string{c.column: c.value}
		for name, value := range base[c.table] {
			if name != c.column {
				row[name] = value
			}
		}
		for name, value := range row {
			if columns != "" {
				columns, values = columns+", ", values+", "
			}
			columns, values = columns+name, values+value
		}
		_, err := l.owner.Exec(t.Context(), "insert into stem."+c.table+" ("+columns+") values ("+values+")")
		if class := code(err); len(class) != 5 || class[:2] != "23" {
			t.Errorf("%s.%s = %.60s: got %v, want a constraint to refuse it", c.table, c.column, c.value, err)
		}
	}
}

// TestDoor: nothing is executable by everybody, definers have a safe path, no function builds SQL, and the login that may only
// execute can touch no table.
func TestDoor(t *testing.T) {
	t.Parallel()
	l := open(t)
	for what, query := range map[string]string{
		"executable by PUBLIC": `select p.oid::regprocedure::text from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
			where p.pronamespace = 'stem'::regnamespace and a.grantee = 0`,
		"definer without the safe path": `select oid::regprocedure::text from pg_proc where pronamespace = 'stem'::regnamespace
			and prosecdef and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)`,
		"without the safe path": `select oid::regprocedure::text from pg_proc where pronamespace = 'stem'::regnamespace
			and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)`,
		"dynamic SQL": `select oid::regprocedure::text from pg_proc where pronamespace = 'stem'::regnamespace
			and regexp_replace(prosrc, '(--[^\n]*|''[^'']*'')', '', 'g') ~* '\mexecute\M'`,
		"a disabled scan and JIT": `select oid::regprocedure::text from pg_proc where pronamespace = 'stem'::regnamespace
			and array_to_string(proconfig, ' ') ~ 'enable_' and not 'jit=off' = any (proconfig)`,
	} {
		if list := column[string](t, l.owner, query); len(list) > 0 {
			t.Errorf("%s: %v", what, list)
		}
	}
	for _, statement := range []string{
		"select from stem.jobs", "delete from stem.ready", "update stem.running set claim_id = gen_random_uuid()", "select nextval('stem.ticket_pos')",
		"insert into stem.queues (name) values ('q')", "select from stem.unique_keys",
	} {
		_, err := l.me.Exec(t.Context(), statement)
		if code(err) != "42501" {
			t.Errorf("%s: got %v, want permission denied", statement, err)
		}
	}
	if state := one[string](t, l.me, "select state from stem.job_states(array[$1::uuid])", uuid.New()); state != "unknown" {
		t.Errorf("got %s", state)
	}
}
