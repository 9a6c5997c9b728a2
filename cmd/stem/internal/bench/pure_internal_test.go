package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []time.Duration{40, 10, 30, 20, 50}
	for _, tt := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{values, 0, 10}, {values, 0.5, 30}, {values, 0.25, 20}, {values, 0.625, 35}, {values, 1, 50}, {nil, 0.5, 0}, {values[:1], 0.99, 40},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %g): got %d, want %d", tt.values, tt.q, got, tt.want)
		}
	}
	if values[0] != 40 {
		t.Error("the values were sorted in place")
	}
}

func TestPerSecond(t *testing.T) {
	t.Parallel()
	if got := (Rate{Jobs: 100, Took: 2 * time.Second}).PerSecond(); got != 50 {
		t.Errorf("got %g, want 50", got)
	}
	if got := (Rate{Jobs: 100}).PerSecond(); got != 0 {
		t.Errorf("got %g for a rate that was not measured", got)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{
		3.14159: "3.1", 45.67: "46", 999.4: "999", 1234: "1 230", 65_789: "65 800", 999_900: "1 000 000", 51_234_567: "51.2 million",
		1_234_000_000: "1 230 million",
	} {
		if got := number(n); got != want {
			t.Errorf("number(%g): got %q, want %q", n, got, want)
		}
	}
}

// calm are facts that nothing is wrong with.
func calm() Facts {
	return Facts{Settings: map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on", "shared_buffers": "131072", "max_wal_size": "4096",
	}, RoundTrip: 200 * time.Microsecond}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	setting := func(name, value string) func(*Facts) { return func(f *Facts) { f.Settings[name] = value } }
	for _, tt := range []struct {
		change func(*Facts)
		want   string // names; then a part of the first message
		says   string
	}{
		{func(*Facts) {}, "", ""},
		{setting("fsync", "off"), "fsync_off", "damaged"},
		{setting("full_page_writes", "off"), "full_page_writes_off", "half written"},
		{setting("synchronous_commit", "off"), "synchronous_commit_off", "lost"},
		{setting("synchronous_commit", "remote_apply"), "", ""},
		{setting("autovacuum", "off"), "autovacuum_off", "dead rows"},
		{setting("shared_buffers", "16384"), "shared_buffers_small", "128 MB"},
		{setting("shared_buffers", "16385"), "", ""},
		{setting("max_wal_size", "1024"), "max_wal_size_small", "1024 MB"},
		{func(f *Facts) { f.RoundTrip = 2 * time.Millisecond }, "", ""},
		{func(f *Facts) { f.RoundTrip = 3456 * time.Microsecond }, "round_trip_long", "takes 3.46ms"},
		{func(f *Facts) { f.Pooled = true }, "pooler", "a pooler stands"},
		{func(f *Facts) { f.Pooled, f.Direct = true, true }, "", ""},
		{func(f *Facts) { f.Pooled, f.Deaf = true, true }, "listen_deaf", "transaction mode"},
		{func(f *Facts) { f.Pooled, f.Deaf, f.Direct = true, true, true }, "listen_deaf", "STEM_LISTEN_URL"},
		{func(f *Facts) { f.Oldest, f.PID = 299*time.Second, 7 }, "", ""},
		{func(f *Facts) { f.Oldest, f.PID, f.State = 12*time.Minute, 7, "idle in transaction" }, "old_transaction", "process 7 has had a transaction open for 12m (idle in transaction)"},
		{func(f *Facts) { f.Prepared = time.Hour }, "prepared_transaction", "1h old"},
		{func(f *Facts) { f.Hidden = true }, "transactions_hidden", "not known"},
		{func(f *Facts) { f.Running = 40 }, "busy", "40 jobs"},
		{func(f *Facts) { f.Settings = nil }, "", ""},
		{func(f *Facts) { f.Settings["fsync"], f.Settings["autovacuum"], f.Running = "off", "off", 1 }, "fsync_off autovacuum_off busy", "fsync"},
	} {
		f := calm()
		tt.change(&f)
		list := warnings(&f)
		var names []string
		for _, w := range list {
			names = append(names, w.Name)
			if w.Message == "" || w.Fix == "" {
				t.Errorf("%s: %+v has a message or a fix too little", tt.want, w)
			}
		}
		if got := strings.Join(names, " "); got != tt.want || len(list) > 0 && !strings.Contains(list[0].Message, tt.says) {
			t.Errorf("got %q with %+v, want %q that says %q", got, list, tt.want, tt.says)
		}
	}
}

func micros(n int) time.Duration { return time.Duration(n) * time.Microsecond }

func TestMeaning(t *testing.T) {
	t.Parallel()
	whole := Report{
		Rates: []Rate{
			{Name: bulkOne, Jobs: 10_000, Took: 160 * time.Millisecond},
			{Name: bulkFour, Jobs: 10_000, Took: 100 * time.Millisecond},
			{Name: drained, Jobs: 20_000, Took: 1400 * time.Millisecond},
			{Name: singleOne, Jobs: 1000, Took: time.Second},
			{Name: singleEight, Jobs: 5123, Took: time.Second},
		},
		Latencies: []Latency{
			{Name: roundTrip, P50: micros(100)},
			{Name: commit, P50: micros(700)},
			{Name: singleOne, P50: micros(1300)},
			{Name: pickup, P50: micros(3100), P99: micros(6000)},
		},
		Costs: []Cost{{Name: notify, On: micros(1400), Off: micros(1300)}, {Name: synchronous, On: micros(1300), Off: micros(700)}},
	}
	want := []string{
		"About 14 300 jobs/s go through one worker process when their handlers do nothing, 51.4 million an hour.",
		"An enqueue of one job takes 1.30ms: 100µs for the round trip, 600µs for the commit, 600µs for the statement. 8 producers at once make 5 120/s.",
		"Many jobs in one call are 62 times as fast as one by one: 62 500/s on one connection.",
		"On an idle queue a handler begins 3.10ms after its job was enqueued, 99 of 100 within 6.00ms.",
		"Waking a worker costs an enqueue 100µs (1.40ms instead of 1.30ms). With queue.NoNotify a job waits for the next poll instead, about 1s at most.",
		"Waiting for the disk costs an enqueue 600µs (1.30ms instead of 700µs). With synchronous_commit off nobody waits, and a crash loses jobs that were reported as enqueued.",
	}
	if diff := cmp.Diff(want, whole.meaning(0)); diff != "" {
		t.Error(diff)
	}
	if got := new(Report).meaning(0); got != nil {
		t.Errorf("of nothing measured it says %q", got)
	}
}

func TestPartsOfAnEnqueue(t *testing.T) {
	t.Parallel()
	report := func(trip, flush, on, off int) *Report {
		return &Report{
			Latencies: []Latency{{Name: roundTrip, P50: micros(trip)}, {Name: commit, P50: micros(flush)}},
			Costs:     []Cost{{Name: synchronous, On: micros(on), Off: micros(off)}},
		}
	}
	for _, tt := range []struct {
		r    *Report
		want string
	}{
		{report(100, 105, 0, 0), ": 100µs for the round trip, next to nothing for the commit, 895µs for the statement"},
		{report(100, 0, 1000, 600), ": 100µs for the round trip, 400µs for the commit, 500µs for the statement"},
		{report(100, 0, 0, 0), ": 100µs for the round trip, next to nothing for the commit, 900µs for the statement"},
		{report(900, 1100, 0, 0), ""},
		{report(0, 0, 0, 0), ""},
	} {
		if got := tt.r.parts(time.Millisecond); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestTheNoiseIsNoDifference(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		on, off int
		want    string
	}{
		{1000, 1100, "nothing that can be measured"},
		{1040, 1000, "nothing that can be measured"},
		{119, 100, "nothing that can be measured"},
		{1100, 1000, "100µs (1.10ms instead of 1.00ms)"},
	} {
		if got := (Cost{On: micros(tt.on), Off: micros(tt.off)}).difference(); got != tt.want {
			t.Errorf("%d and %d: got %q, want %q", tt.on, tt.off, got, tt.want)
		}
	}
}
