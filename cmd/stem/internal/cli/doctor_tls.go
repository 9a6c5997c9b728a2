package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

func newDoctorTLS(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "tls",
		Short: "Explain the TLS handshake with each server of the URL",
		Long: "Explain the TLS handshake with each server of the URL: the chain of certificates with their names and dates, the protocol,\n" +
			"whether a password can be bound to the connection, whether the server asks for a client's certificate, and what\n" +
			"sslmode=verify-full says to all that. It shows a certificate that would be refused, and sends neither password nor\n" +
			"statement. Exits 1 when verify-full would not let it pass.",
		Example: "  stem doctor tls\n  stem doctor tls --json | jq -r '.[].verdict'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.chooseDatabase(cmd.Context()); err != nil {
				return err
			}
			var list []doctor.Handshake
			for _, way := range a.database.Ways() {
				list = append(list, doctor.Explain(cmd.Context(), a.database, way))
			}
			return a.reportHandshakes(list)
		},
	}
}

var chainSheet = output.Sheet[doctor.Certificate]{Noun: "certificate", Columns: []output.Column[doctor.Certificate]{
	{Header: "Subject", Value: func(c doctor.Certificate) any { return c.Subject }, Name: true},
	{Header: "Issuer", Value: func(c doctor.Certificate) any { return c.Issuer }},
	{Header: "Names", Value: func(c doctor.Certificate) any { return c.Names }},
	{Header: "From", Value: func(c doctor.Certificate) any { return c.From }, Wide: true},
	{Header: "Until", Value: func(c doctor.Certificate) any { return c.Until }},
	{Header: "Left", Value: func(c doctor.Certificate) any { return time.Until(c.Until).Round(time.Minute) }, Data: true},
	{Header: "Key", Value: func(c doctor.Certificate) any { return c.Key }, Wide: true},
}}

var handshakeSheet = output.Sheet[doctor.Handshake]{Noun: "server on the network", Plural: "servers on the network", Columns: []output.Column[doctor.Handshake]{
	{Header: "Server", Value: func(h doctor.Handshake) any { return h.Address }, Name: true},
	{Header: "Protocol", Value: func(h doctor.Handshake) any { return optional(h.Protocol) }},
	{Header: "Cipher", Value: func(h doctor.Handshake) any { return optional(h.Cipher) }},
	{Header: "Negotiation", Value: func(h doctor.Handshake) any { return h.Negotiation }},
	{Header: "Channel binding", Value: func(h doctor.Handshake) any { return h.Binding() }},
	{Header: "Methods", Value: func(h doctor.Handshake) any { return h.Methods }},
	{Header: "Client certificate asked for", Key: "clientCertificateAsked", Value: func(h doctor.Handshake) any { return h.Asked }},
	{Header: "Accepted issuers", Value: func(h doctor.Handshake) any { return h.Accepts }},
	{Header: "Client certificate sent", Key: "clientCertificateSent", Value: func(h doctor.Handshake) any { return optional(h.Presented) }},
	{Header: "Refusal", Value: func(h doctor.Handshake) any { return optional(h.Refusal) }},
	{Header: "Remedy", Value: func(h doctor.Handshake) any { return optional(h.Remedy) }},
	{Header: "Chain", Value: func(h doctor.Handshake) any { return output.Nest(&chainSheet, h.Chain) }},
	{Header: "Verdict", Value: func(h doctor.Handshake) any { return cmp.Or(h.Verdict, "ok") }},
	{Header: "Advice", Value: func(h doctor.Handshake) any { return optional(h.Advice) }},
}}

func (a *App) reportHandshakes(list []doctor.Handshake) error {
	if !a.Printer.ForPeople() {
		if err := output.List(a.Printer, &handshakeSheet, output.Rows(list)); err != nil {
			return err
		}
	} else if len(list) == 0 {
		a.Printer.Note("a Unix socket needs no TLS")
	}
	bad := 0
	for i, h := range list {
		if h.Verdict != "" {
			bad++
		}
		if a.Printer.ForPeople() {
			if err := a.printHandshake(h, i > 0); err != nil {
				return err
			}
		}
	}
	if bad > 0 {
		return fault.New(fault.ExitNotFound, "not_verified", "sslmode=verify-full would refuse %s", counted(bad, "server")).About("database")
	}
	return nil
}

// printHandshake tells it in sentences.
func (a *App) printHandshake(h doctor.Handshake, another bool) error {
	lines := []string{h.Address}
	if another {
		lines = []string{"", h.Address}
	}
	add := func(label, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("  %-18s %s", label, fmt.Sprintf(format, args...)))
	}
	if h.Reached {
		add("protocol", "%s, %s, sslnegotiation=%s", h.Protocol, h.Cipher, h.Negotiation)
	}
	for i, c := range h.Chain {
		label := "certificate"
		if i > 0 {
			label = "its issuer"
		}
		add(label, "%s", c.Subject)
		if len(c.Names) > 0 {
			add("  for", "%s", strings.Join(c.Names, ", "))
		}
		add("  issued by", "%s", c.Issuer)
		add("  valid", "%s to %s (%s)", c.From.UTC().Format(time.DateOnly), c.Until.UTC().Format(time.DateOnly), remaining(c.Until))
		add("  key", "%s", c.Key)
	}
	if len(h.Methods) > 0 {
		add("authentication", "%s", strings.Join(h.Methods, ", "))
		add("channel binding", "%s", map[bool]string{true: "yes", false: "no"}[h.Binding()])
	}
	if h.Reached {
		add("client certificate", "%s", asked(h))
	}
	if h.Refusal != "" {
		add("the server refuses", "%s", h.Refusal)
		add("", "%s", h.Remedy)
	}
	add("verify-full", "%s", cmp.Or(h.Verdict, "ok"))
	if h.Advice != "" {
		add("", "%s", h.Advice)
	}
	var errs []error
	for _, line := range lines {
		errs = append(errs, a.Printer.Prose(strings.TrimRight(line, " ")))
	}
	return errors.Join(errs...)
}

func remaining(until time.Time) string {
	switch left := time.Until(until); {
	case left <= 0:
		return "expired"
	case left < 72*time.Hour:
		return arg.Text(left.Round(time.Hour)) + " left"
	default:
		return fmt.Sprintf("%d days left", left/(24*time.Hour))
	}
}

func asked(h doctor.Handshake) string {
	switch {
	case !h.Asked:
		return "not asked for"
	case h.Presented != "":
		return "asked for, and sent: " + h.Presented
	case len(h.Accepts) > 0:
		return "asked for one issued by " + strings.Join(h.Accepts, "; ") + "; none was sent"
	}
	return "asked for; none was sent"
}
