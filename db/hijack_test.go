package db_test

import (
	"testing"
)

// TestATriggerRunsNobodysCastAsTheOwner: to_jsonb, which stem.enqueue_trigger calls on the new row, runs the casts to json of types
// that anybody may have made, in pg_temp if nowhere else. So it must run as whoever wrote the row: as SECURITY DEFINER it let a
// producer do whatever the owner may.
func TestATriggerRunsNobodysCastAsTheOwner(t *testing.T) {
	t.Parallel()
	l := open(t)
	const script = `
		create type pg_temp.mood as enum ('good');
		create temp table seen (who text);
		create function pg_temp.to_json(pg_temp.mood) returns json language plpgsql as $$ begin
			insert into pg_temp.seen values (current_user);
			return '"cast"';
		end $$;
		create cast (pg_temp.mood as json) with function pg_temp.to_json(pg_temp.mood);
		create temp table orders (id int, mood pg_temp.mood);
		create trigger t after insert on orders for each row execute function stem.enqueue_trigger('order.made', 'mail');
		insert into orders values (7, 'good')`
	run(t, l.me, script)
	me := one[string](t, l.me, "select current_user")
	if who := one[string](t, l.me, "select string_agg(distinct who, ' ') from seen"); who != me {
		t.Errorf("the cast ran as %s, want %s", who, me)
	}
	got := one[string](t, l.owner, "select queue || ' ' || task || ' ' || stem.payload_text(payload) from stem.jobs")
	if want := `mail order.made {"op": "insert", "new": {"id": 7, "mood": "cast"}, "old": null, "table": "orders", "schema": "` +
		one[string](t, l.me, "select nspname from pg_namespace where oid = pg_my_temp_schema()") + `"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
