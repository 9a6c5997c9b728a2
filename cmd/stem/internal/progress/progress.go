// Package progress shows how far long work has come: a bar with rate and time left on a terminal, a plain line every
// five seconds elsewhere, so that a log of a cron job stays readable.
package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

// every is how often a line is written where there is no terminal.
const every = 5 * time.Second

// Options says what is counted and where it is shown.
type Options struct {
	Out      io.Writer
	Terminal bool   // Out is one
	Verb     string // "replaying"
	Total    int
	Steps    bool // that take unlike times: neither rate nor time left mean anything
	Quiet    bool
}

// Bar counts work that is done. It is for one goroutine, starts none and needs no signal handling: Stop leaves the
// terminal on a fresh line, however the work ended.
type Bar struct {
	o     Options
	bar   *progressbar.ProgressBar // nil off a terminal
	done  int
	start time.Time
	said  time.Time
}

// Start shows an empty bar. The caller calls Stop, best deferred.
func Start(o Options) *Bar {
	now := time.Now()
	b := &Bar{o: o, start: now, said: now}
	if o.Terminal && !o.Quiet && o.Total > 0 {
		more := []progressbar.Option{}
		if !o.Steps {
			more = append(more, progressbar.OptionShowIts())
		}
		b.bar = progressbar.NewOptions(o.Total, append(more,
			progressbar.OptionSetWriter(o.Out),
			progressbar.OptionSetDescription(o.Verb),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(!o.Steps),
			progressbar.OptionThrottle(65*time.Millisecond),
			progressbar.OptionSetRenderBlankState(true),
			progressbar.OptionFullWidth(),
		)...)
	}
	return b
}

// Add counts n more as done.
func (b *Bar) Add(n int) {
	b.done += n
	if b.bar != nil {
		_ = b.bar.Add(n) // a bar that cannot be drawn must not stop the work
		return
	}
	if now := time.Now(); !b.o.Quiet && now.Sub(b.said) >= every {
		b.said = now
		fmt.Fprintln(b.o.Out, b.line(now))
	}
}

// Say changes what is being done.
func (b *Bar) Say(verb string) {
	b.o.Verb = verb
	if b.bar != nil {
		b.bar.Describe(verb)
	}
}

// Done is how many were counted.
func (b *Bar) Done() int { return b.done }

// Stop ends the display. It may be called more than once.
func (b *Bar) Stop() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprintln(b.o.Out)
		b.bar = nil
		b.o.Quiet = true
	}
}

// line is "replaying: 120 of 214, 24/s, 4s left".
func (b *Bar) line(now time.Time) string {
	s := fmt.Sprintf("%s: %d of %d", b.o.Verb, b.done, b.o.Total)
	elapsed := now.Sub(b.start)
	if elapsed <= 0 || b.done == 0 || b.o.Steps {
		return s
	}
	rate := float64(b.done) / elapsed.Seconds()
	left := time.Duration(float64(b.o.Total-b.done) / rate * float64(time.Second))
	return fmt.Sprintf("%s, %.3g/s, %s left", s, rate, arg.Text(max(0, left.Round(time.Second))))
}
