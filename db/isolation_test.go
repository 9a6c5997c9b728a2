package db_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// TestFreshSnapshotsAreWanted: what a claim took that committed after the caller's snapshot is not there for a REPEATABLE READ
// caller: the job would stay running for ever, with nobody who has it. So these refuse. Mutant that it catches: no look at the
// isolation level.
func TestFreshSnapshotsAreWanted(t *testing.T) {
	t.Parallel()
	calls := map[string]func(t *testing.T, l *lab, db store.DBTX, w hand, id uuid.UUID) error{
		"deregister": func(t *testing.T, _ *lab, db store.DBTX, w hand, _ uuid.UUID) error {
			t.Helper()
			_, err := store.New(db).Deregister(t.Context(), w.id, w.epoch)
			return err
		},
		// Declared lost in the same transaction: the row of another's would not be there either, and nothing would be done.
		"rescue": func(t *testing.T, l *lab, db store.DBTX, w hand, _ uuid.UUID) error {
			t.Helper()
			rescuer := hand{id: one[uuid.UUID](t, db, "select id from stem.watch($1)", w.id)}
			rescuer.epoch = one[int64](t, l.owner, "select epoch from stem.workers where id = $1", rescuer.id)
			if !declareLost(t, db, rescuer, w, one[pgtype.Timestamptz](t, l.owner, "select heartbeat_at from stem.workers where id = $1", w.id)) {
				t.Fatal("not declared lost")
			}
			_, err := store.New(db).Rescue(t.Context(), rescuer.id, rescuer.epoch, w.id, 3)
			return err
		},
		"void_claim": func(t *testing.T, _ *lab, db store.DBTX, w hand, id uuid.UUID) error {
			t.Helper()
			_, err := store.New(db).VoidClaim(t.Context(), w.id, id)
			return err
		},
	}
	for function, call := range calls {
		for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable, "mutant"} {
			t.Run(function+" at "+string(level), func(t *testing.T) {
				t.Parallel()
				l := open(t)
				l.hire(t) // the rescuer
				w := l.hire(t)
				l.expire(t, w)
				enqueue(t, l.me, 1, "")
				mutant := level == "mutant"
				if mutant {
					level = pgx.RepeatableRead
					l.mutate(t, function, "perform stem._wants_fresh_snapshots('"+function+"');", "")
				}
				strict := begin(t, l.connect(t), level)
				run(t, strict, "select 1")
				rows, id := claimAs(t, l.me, claimParams(w, 1))
				err := call(t, l, strict, w, id)
				if mutant {
					if err != nil {
						t.Fatal(err)
					}
					commit(t, strict)
					run(t, l.me, "select stem.adopt_orphans()") // not before a minute is over
					l.wantPlace(t, rows[0].JobID, "running")
					if n := one[int](t, l.owner, "select count(*) from stem.lost_workers where cleared_at is null"); n != 0 {
						t.Error("the claim is not forgotten: this test sees nothing")
					}
					return
				}
				wantCode(t, err, "25000")
				rollback(t, strict)
				if err := call(t, l, l.me, w, id); err != nil {
					t.Fatal(err)
				}
				want := map[string]string{"deregister": "running", "rescue": "scheduled", "void_claim": "ready"}[function]
				l.wantPlace(t, rows[0].JobID, want)
				if function == "deregister" && one[int](t, l.owner, "select count(*) from stem.lost_workers where id = $1", w.id) != 1 {
					t.Error("what it holds is not left to rescue")
				}
			})
		}
	}
}
