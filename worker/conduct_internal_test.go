package worker

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAShutdownGetsHarderAsItsTimePasses(t *testing.T) {
	t.Parallel()
	const grace = 30 * time.Second
	type asked struct {
		after time.Duration
		mode  ShutdownMode
	}
	for name, tt := range map[string]struct {
		asked            []asked
		soft, hard, over time.Duration // from the first
	}{
		"warm":             {[]asked{{0, Warm}}, grace, grace + 1500*time.Millisecond, grace + 1900*time.Millisecond},
		"soft":             {[]asked{{0, Soft}}, 0, 1500 * time.Millisecond, 1900 * time.Millisecond},
		"hard":             {[]asked{{0, Hard}}, 0, 0, 1900 * time.Millisecond},
		"warm, then soft":  {[]asked{{0, Warm}, {time.Second, Soft}}, time.Second, 2500 * time.Millisecond, 2900 * time.Millisecond},
		"warm, then hard":  {[]asked{{0, Warm}, {time.Second, Hard}}, time.Second, time.Second, 2900 * time.Millisecond},
		"soft, then hard":  {[]asked{{0, Soft}, {time.Second, Hard}}, 0, time.Second, 1900 * time.Millisecond},
		"never back again": {[]asked{{0, Soft}, {time.Second, Warm}}, 0, 1500 * time.Millisecond, 1900 * time.Millisecond},
		"late soft":        {[]asked{{0, Warm}, {grace - time.Second, Soft}}, grace - time.Second, grace + 500*time.Millisecond, grace + 900*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStopper()
				over, begun := make(chan struct{}), make(chan struct{})
				go s.conduct(nil, grace, func() { close(begun) }, func() { close(over) })
				time.Sleep(time.Hour)
				if isClosed(begun) {
					t.Fatal("it began unasked")
				}
				first := time.Now()
				at := func(c <-chan struct{}) *time.Duration {
					var d time.Duration
					go func() { <-c; d = time.Since(first) }()
					return &d
				}
				soft, hard, end := at(s.soft), at(s.hard), at(over)
				for _, a := range tt.asked {
					time.Sleep(time.Until(first.Add(a.after)))
					s.ask(a.mode)
				}
				<-over
				synctest.Wait()
				if !isClosed(begun) || *soft != tt.soft || *hard != tt.hard || *end != tt.over {
					t.Errorf("soft after %v, hard after %v, over after %v; want %v, %v, %v", *soft, *hard, *end, tt.soft, tt.hard, tt.over)
				}
				if *end > grace+2*time.Second {
					t.Errorf("over only %v after it was asked for", *end)
				}
			})
		})
	}
}

func TestAConductorEndsWithTheWorker(t *testing.T) {
	t.Parallel()
	for _, mode := range []ShutdownMode{0, Warm, Soft, Hard} {
		synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
			s := newStopper()
			done := make(chan struct{})
			go s.conduct(done, time.Minute, func() {}, func() { t.Error("over, although it had ended") })
			if mode != 0 {
				s.ask(mode)
			}
			synctest.Wait()
			close(done)
		})
	}
}
