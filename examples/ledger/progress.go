package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on a terminal, and a line every five seconds elsewhere.
type progress struct {
	total int
	bar   *progressbar.ProgressBar // nil off a terminal
	next  time.Time
}

func newProgress(total int) *progress {
	p := &progress{total: total, next: time.Now().Add(5 * time.Second)}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("hashing"),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(40), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *progress) show(done int) {
	if p.bar != nil {
		_ = p.bar.Set(done) // a bar that cannot be drawn is no reason to stop
		return
	}
	if time.Now().After(p.next) {
		p.next = p.next.Add(5 * time.Second)
		fmt.Fprintf(os.Stderr, "ledger: %d of %d files done\n", done, p.total)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish() // as above
	}
}
