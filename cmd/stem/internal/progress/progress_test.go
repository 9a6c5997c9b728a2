package progress_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/progress"
)

func TestOffATerminalALineIsWrittenEveryFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		bar := progress.Start(progress.Options{Out: &out, Verb: "replaying", Total: 240})
		defer bar.Stop()
		for range 12 {
			time.Sleep(time.Second)
			bar.Add(20)
		}
		want := "replaying: 100 of 240, 20/s, 7s left\nreplaying: 200 of 240, 20/s, 2s left\n"
		if got := out.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestOnATerminalABarEndsOnAFreshLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	bar := progress.Start(progress.Options{Out: &out, Terminal: true, Verb: "purging", Total: 10})
	bar.Add(4)
	bar.Stop()
	bar.Stop()
	got := out.String()
	if !strings.Contains(got, "purging") || !strings.HasSuffix(got, "\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
	if bar.Done() != 4 {
		t.Errorf("Done = %d", bar.Done())
	}
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		bar := progress.Start(progress.Options{Out: &out, Total: 10, Quiet: true})
		time.Sleep(time.Minute)
		bar.Add(1)
		bar.Stop()
		if out.Len() > 0 {
			t.Errorf("got %q", out.String())
		}
	})
}

func TestStepsSayWhichAndNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		bar := progress.Start(progress.Options{Out: &out, Verb: "first", Total: 3, Steps: true})
		defer bar.Stop()
		time.Sleep(time.Minute)
		bar.Say("second")
		bar.Add(1)
		if got, want := out.String(), "second: 1 of 3\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestStepsOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	bar := progress.Start(progress.Options{Out: &out, Terminal: true, Verb: "first", Total: 3, Steps: true})
	bar.Add(1)
	bar.Say("second")
	bar.Add(2)
	bar.Stop()
	if got := out.String(); !strings.Contains(got, "second") || strings.Contains(got, "it/s") {
		t.Errorf("got %q", got)
	}
}
