package integration_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/scheduler"
)

// post is a database with schedules that are due each second, and the processes that fire them.
type post struct {
	*fleet
	url string // a scheduler's
}

// newPost makes the schedules; every other one has jitter. The table "first" has the instant that each begins with.
func newPost(f *fleet, schedules int) *post {
	t := f.t
	t.Helper()
	owner := f.pool.Config().ConnString()
	p := &post{fleet: f, url: pgtest.Login(t, owner, "scheduler")}
	table := scheduler.NewTable(pgtest.Open(t, pgtest.Login(t, owner, "operator")), f.q, scheduler.TableConfig{})
	entries := make([]scheduler.Entry, schedules)
	for i := range entries {
		entries[i] = scheduler.Entry{
			ID: fmt.Sprintf("s%03d", i), Spec: "every:1s", Job: raw("t"), Jitter: time.Duration(i%2) * 600 * time.Millisecond,
			Policies: scheduler.Policies{Missed: scheduler.MissedAll, CatchUpWindow: time.Hour, CatchUpMax: 1000},
		}
	}
	plan, err := table.Plan(t.Context(), false, entries...)
	if err == nil {
		err = table.Apply(t.Context(), plan, "test")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.pool.Exec(t.Context(), "create table first as select id, next_at from stem.schedules"); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts a scheduler process; it may be too early for it to stay.
func (p *post) start() *process {
	p.t.Helper()
	c := &process{log: &lines{}, done: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0]) //nolint:noctx // the cleanup ends it
	c.cmd.Env = append(os.Environ(), schedulerEnv+"="+p.url, "GOMAXPROCS=1")
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { c.err = c.cmd.Wait(); close(c.done) }()
	p.t.Cleanup(func() { p.kill(c) })
	return c
}

// steady waits until a scheduler works, and so takes signals. One that found no server when it started is replaced.
func (p *post) steady(c *process) *process {
	p.t.Helper()
	p.eventually("the scheduler has started", func() bool {
		select {
		case <-c.done:
			c = p.start()
		default:
		}
		return c.log.has("scheduler started")
	})
	return c
}

func (p *post) kill(c *process) {
	p.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	<-c.done
}

// settle waits until everything that was due at the time of the call has been decided.
func (p *post) settle() {
	p.t.Helper()
	now := labtest.One[time.Time](p.t, p.pool, "select clock_timestamp()")
	p.eventually("all that was due is decided", func() bool {
		return p.number("select count(*) from stem.schedules where next_at <= $1", now) == 0
	})
}

// rules are what must hold of every instant from the first of each schedule to the last that is decided; each counts what breaks it.
var rules = []struct{ rule, broken string }{
	{"every instant has its row", `
		select count(*) from stem.schedules s join first f using (id)
		cross join generate_series(f.next_at, s.next_at - interval '1 second', interval '1 second') at
		where not exists (select from stem.schedule_runs r where r.schedule = s.id and r.nominal_at = at)`},
	{"there is no row of another instant", `
		select count(*) from stem.schedule_runs r where not exists (
			select from stem.schedules s join first f using (id)
			where s.id = r.schedule and r.nominal_at between f.next_at and s.next_at - interval '1 second'
			  and r.nominal_at = date_trunc('second', r.nominal_at))`},
	{"an instant has one job at most", `
		select count(*) from (select from stem.jobs group by origin, nominal_at having count(*) > 1) twice`},
	{"none is lost within the window", "select count(*) from stem.schedule_runs where outcome not in ('fired', 'late', 'caught_up')"},
	{"a row's job is there, and is of that instant", `
		select count(*) from stem.schedule_runs r where not exists (
			select from stem.jobs j where j.id = r.job_id and j.origin = 'schedule:' || r.schedule and j.nominal_at = r.nominal_at)`},
	{"a job has its row", "select count(*) from stem.jobs j where not exists (select from stem.schedule_runs r where r.job_id = j.id)"},
	{"no row is early", `
		select count(*) from stem.schedule_runs where recorded_at < nominal_at + jitter_us * interval '1 microsecond' or drift_us < 0`},
	{"no job is early", `
		select count(*) from stem.jobs j join stem.schedule_runs r on r.job_id = j.id
		where j.created_at < r.nominal_at + r.jitter_us * interval '1 microsecond'`},
	{"the schedule has counted its jobs", `
		select count(*) from stem.schedules s where fired <> (select count(*) from stem.schedule_runs r where r.schedule = s.id and r.job_id is not null)`},
}

// broken names the rules that do not hold.
func (p *post) broken() []string {
	p.t.Helper()
	var list []string
	for _, r := range rules {
		if n := p.number(r.broken); n > 0 {
			list = append(list, fmt.Sprintf("%s: not %d times", r.rule, n))
		}
	}
	return list
}

// chaosLasts is 15 s, or what STEM_TEST_CHAOS says.
func chaosLasts(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("STEM_TEST_CHAOS")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("STEM_TEST_CHAOS: %v", err)
	}
	return d
}

// TestSchedulersThatAreKilledFireEverythingOnce: three schedulers, 300 schedules each second, SIGKILL at random, the server crashed once.
func TestSchedulersThatAreKilledFireEverythingOnce(t *testing.T) {
	t.Parallel()
	f, server := ownServer(t)
	p := newPost(f, 300)
	lasts := chaosLasts(t)
	alive := []*process{p.start(), p.start(), p.start()}
	kills, starts := 0, 3
	over, crash := time.After(lasts), time.After(lasts/2)
	for running := true; running; {
		select {
		case <-over:
			running = false
		case <-crash:
			if err := server.StopImmediate(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-time.After(lasts / 9) // of two minutes so much that runs are late
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		case <-time.After(untilKill()):
			i := rand.IntN(len(alive))
			p.kill(alive[i])
			kills++
			for i, c := range alive { // those as well that found no server when they started
				select {
				case <-c.done:
					alive[i] = p.start()
					starts++
				default:
				}
			}
		}
	}
	p.settle()
	for _, c := range alive {
		c = p.steady(c)
		c.signal(t, syscall.SIGTERM)
		<-c.done
		if c.err != nil {
			t.Errorf("a scheduler that was asked to end: %v\n%s", c.err, c.log.all.String())
		}
	}
	for _, b := range p.broken() {
		t.Error(b)
	}
	p.report(server, kills, starts)
}

// untilKill is up to a second, and every other time until something is being fired.
func untilKill() time.Duration {
	if rand.IntN(2) == 0 {
		return time.Duration(100+rand.IntN(900)) * time.Millisecond
	}
	now := time.Now()
	return now.Truncate(time.Second).Add(time.Second + time.Duration(2+rand.IntN(60))*time.Millisecond).Sub(now)
}

func (p *post) report(server *devpg.Server, kills, starts int) {
	p.t.Helper()
	log, err := os.ReadFile(server.LogFile)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("%d kills, of which the server saw %d in a transaction; %d starts; one crash of the server", kills,
		strings.Count(string(log), "with an open transaction"), starts)
	p.t.Log(labtest.One[string](p.t, p.pool, `
		select format('%s instants of %s schedules: %s; drift of all p50 %s ms, p99 %s ms, max %s ms', sum(n), count(distinct schedule),
			string_agg(distinct o.outcome || ' ' || o.total, ', '), d[1], d[2], d[3])
		from (select schedule, outcome, count(*) n from stem.schedule_runs group by 1, 2) r
		join (select outcome, count(*) total from stem.schedule_runs group by 1) o using (outcome)
		cross join (select percentile_disc(array[0.5, 0.99, 1]) within group (order by drift_us / 1000) d from stem.schedule_runs) x
		group by d`))
}

// TestTheRulesSeeWhatSchedulersDoWrong puts wrong forms of the functions into the database and expects the rules that the test above holds
// schedulers to, to break.
func TestTheRulesSeeWhatSchedulersDoWrong(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		mutant, rule string
		mutate       map[string][]string
	}{
		{"job and ledger are not one", "a job has its row", map[string][]string{
			"record_runs": {"from given g\n        order by", "from given g where random() > 0.05\n        order by", "if found then", "if false then"},
		}},
		{"the clock is fast", "no row is early", map[string][]string{
			"lock_schedules": {"v_now timestamptz := clock_timestamp()", "v_now timestamptz := clock_timestamp() + interval '0.3 s'"},
		}},
		{"an instant is passed over", "every instant has its row", map[string][]string{
			"advance_schedules": {"next_at = u.next_at", "next_at = u.next_at + case when random() < 0.05 then interval '1 second' else '0' end"},
		}},
		{"neither lock nor key", "an instant has one job at most", map[string][]string{
			"lock_schedules":    {"limit p_limit for update skip locked", "limit p_limit", "r.nominal_at > least", "false and r.nominal_at > least"},
			"record_runs":       {"where r.job_id is null and (excluded", "where true or (excluded"},
			"advance_schedules": {"where s.id = any", "where pg_sleep(0.01)::text = '' and s.id = any"},
		}},
	} {
		t.Run(m.mutant, func(t *testing.T) {
			t.Parallel()
			p := newPost(fleetOn(t, pgtest.Database(t)), 30)
			for range 2 {
				p.start()
			}
			p.eventually("the schedulers fire", func() bool { return p.number("select count(*) from stem.schedule_runs") > 30 })
			for _, b := range p.broken() {
				t.Error("before the mutation:", b)
			}
			for function, pairs := range m.mutate {
				labtest.Mutate(t, p.pool, function, pairs...)
			}
			p.eventually("broken: "+m.rule, func() bool {
				return slices.ContainsFunc(p.broken(), func(b string) bool { return strings.HasPrefix(b, m.rule) })
			})
			t.Log(strings.Join(p.broken(), "; "))
		})
	}
}
