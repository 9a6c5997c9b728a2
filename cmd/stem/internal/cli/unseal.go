package cli

import (
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing/encryption"
)

// showDetail prints all of a job, readable where this configuration has the key.
func (a *App) showDetail(d *control.Detail) error {
	if err := d.Open(a.Config.Encryption); err != nil {
		a.Printer.Note("encrypted, and not shown: %s", err)
		if _, sealed := encryption.Unwrap(d.Codec); sealed {
			d.Payload = nil
		}
		if encryption.IsSealedResult(d.Result) {
			d.Result = nil
		}
	}
	return output.One(a.Printer, &detailSheet, *d)
}

// openResult makes the result of a job readable where this configuration has the key, and says where it has not.
func (a *App) openResult(r *queue.Result) {
	if err := r.Open(a.Config.Encryption); err != nil {
		a.Printer.Note("the result is encrypted, and not shown: %s", err)
	}
}
