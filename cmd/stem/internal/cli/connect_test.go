package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
)

func TestInsecureModeIsSaidAtTheStartAndEveryHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := newApp(nil, Streams{})
		a.Config, a.daemon, a.Log = &config.Config{Insecure: true}, true, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		a.insecureBanner(t.Context())
		<-time.After(2*time.Hour + time.Minute)
		a.close()
		if got := strings.Count(log.String(), "STEM_TLS_ALLOW_INSECURE is on"); got != 3 {
			t.Errorf("said %d times in two hours, want 3:\n%s", got, log.String())
		}
	})
	var errs bytes.Buffer
	a := newApp(nil, Streams{Err: &errs})
	a.global.quiet = true
	a.Config = &config.Config{}
	if a.insecureBanner(t.Context()); errs.Len() > 0 {
		t.Errorf("said without a reason: %s", errs.String())
	}
	a.Config.Insecure = true
	if a.insecureBanner(t.Context()); !strings.HasPrefix(errs.String(), "stem: warning: STEM_TLS_ALLOW_INSECURE is on: ") {
		t.Errorf("--quiet silences it: %q", errs.String())
	}
}

func TestOld(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"13.4": true, "9.6.24": true, "14.0 (Debian 14.0-1)": false, "18beta1": false, "": false} {
		if old(version) != want {
			t.Errorf("old(%q) is %v", version, !want)
		}
	}
}
