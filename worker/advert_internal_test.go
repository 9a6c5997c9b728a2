package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/queue"
)

func nothing(context.Context, *queue.Run) error { return nil }

func TestAdvertsSayWhatTheDefinitionSays(t *testing.T) {
	t.Parallel()
	var reg Registry
	full := queue.NewTask[int]("full", queue.On("mail"), queue.MaxAttempts(5), queue.SoftLimit(1500*time.Millisecond), queue.HardLimit(2*time.Second))
	Handle(&reg, full, func(context.Context, *queue.Job[int]) error { return nil })
	reg.HandleFunc("bare", nothing)
	reg.HandleFunc("script", nothing, queue.HardLimit(time.Second))
	reg.SetKind("script", "command")
	got, err := reg.adverts()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"bare":{"kind":"go"},` +
		`"full":{"kind":"go","queue":"mail","max_attempts":5,"soft_limit_us":1500000,"hard_limit_us":2000000},` +
		`"script":{"kind":"command","hard_limit_us":1000000}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTooManyTasksAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	var reg Registry
	for i := range 4000 {
		reg.HandleFunc(fmt.Sprintf("%s%d", strings.Repeat("t", 120), i), nothing)
	}
	_, err := New(nil, &reg, Config{})
	if err == nil || !strings.Contains(err.Error(), "4000 tasks make a registration of 562891 bytes") || !strings.Contains(err.Error(), "at most 524288") {
		t.Errorf("got %v", err)
	}
}

func TestSetKindPanicsOnMistakes(t *testing.T) {
	t.Parallel()
	var reg Registry
	reg.HandleFunc("t", nothing)
	for _, c := range []struct{ task, kind string }{{"u", "http"}, {"t", ""}, {"t", "Go"}, {"t", strings.Repeat("k", 17)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("SetKind(%q, %q) did not panic", c.task, c.kind)
				}
			}()
			reg.SetKind(c.task, c.kind)
		}()
	}
}

func TestNamesOfAWorkerAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 257)
	_, err := New(nil, &Registry{}, Config{Node: long, Namespace: long, Version: long})
	for _, want := range []string{"node: want 1 to 128 bytes, got 257", "namespace: want 1 to 128 bytes, got 257", "version: want 0 to 256 bytes, got 257"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
