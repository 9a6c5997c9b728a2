package cli

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/bench"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

var benchSheet = output.Sheet[bench.Report]{Noun: "bench", Columns: []output.Column[bench.Report]{
	{Header: "Queue", Value: func(r bench.Report) any { return r.Queue }, Name: true},
	{Header: "Server", Value: func(r bench.Report) any { return r.Server }},
	{Header: "Jobs", Value: func(r bench.Report) any { return r.Jobs }},
	{Header: "Duration", Value: func(r bench.Report) any { return r.Duration }},
	{Header: "Payload bytes", Value: func(r bench.Report) any { return r.Payload }},
	{Header: "Jobs per call", Value: func(r bench.Report) any { return r.Batch }},
	{Header: "Slots", Value: func(r bench.Report) any { return r.Slots }},
	{Header: "Took", Value: func(r bench.Report) any { return r.Took }},
	{Header: "Throughput", Value: func(r bench.Report) any { return output.Nest(&rateSheet, r.Rates) }},
	{Header: "Latency", Value: func(r bench.Report) any { return output.Nest(&latencySheet, r.Latencies) }},
	{Header: "Settings", Value: func(r bench.Report) any { return output.Nest(&costSheet, r.Costs) }},
	{Header: "Meaning", Value: func(r bench.Report) any { return r.Meaning }},
	{Header: "Warnings", Value: func(r bench.Report) any { return output.Nest(&warningSheet, r.Warnings) }},
	{Header: "Cancelled", Value: func(r bench.Report) any { return r.Left.Cancelled }},
	{Header: "Envelopes left", Value: func(r bench.Report) any { return r.Left.Envelopes }},
	{Header: "Bytes left", Value: func(r bench.Report) any { return r.Left.Bytes }},
}}

var rateSheet = output.Sheet[bench.Rate]{Noun: "rate", Columns: []output.Column[bench.Rate]{
	{Header: "Name", Value: func(r bench.Rate) any { return r.Name }, Data: true},
	{Header: "What", Value: func(r bench.Rate) any { return r.What }, Name: true},
	{Header: "Jobs", Value: func(r bench.Rate) any { return r.Jobs }},
	{Header: "Took", Value: func(r bench.Rate) any { return output.Precise(r.Took) }},
	{Header: "Jobs/s", Key: "jobsPerSecond", Value: func(r bench.Rate) any { return int64(r.PerSecond()) }},
}}

var latencySheet = output.Sheet[bench.Latency]{Noun: "latency", Columns: []output.Column[bench.Latency]{
	{Header: "Name", Value: func(l bench.Latency) any { return l.Name }, Data: true},
	{Header: "What", Value: func(l bench.Latency) any { return l.What }, Name: true},
	{Header: "Samples", Value: func(l bench.Latency) any { return l.Samples }},
	{Header: "P50", Value: func(l bench.Latency) any { return output.Precise(l.P50) }},
	{Header: "P95", Value: func(l bench.Latency) any { return output.Precise(l.P95) }},
	{Header: "P99", Value: func(l bench.Latency) any { return output.Precise(l.P99) }},
	{Header: "Skipped", Value: func(l bench.Latency) any { return optional(l.Skipped) }, Data: true},
}}

var costSheet = output.Sheet[bench.Cost]{Noun: "setting", Columns: []output.Column[bench.Cost]{
	{Header: "Name", Value: func(c bench.Cost) any { return c.Name }, Name: true},
	{Header: "What", Value: func(c bench.Cost) any { return c.What }},
	{Header: "Samples", Value: func(c bench.Cost) any { return c.Samples }},
	{Header: "On", Value: func(c bench.Cost) any { return output.Precise(c.On) }},
	{Header: "Off", Value: func(c bench.Cost) any { return output.Precise(c.Off) }},
	{Header: "Cost", Value: func(c bench.Cost) any { return output.Precise(c.On - c.Off) }},
	{Header: "Skipped", Value: func(c bench.Cost) any { return optional(c.Skipped) }, Data: true},
}}

var warningSheet = output.Sheet[bench.Warning]{Noun: "warning", Columns: []output.Column[bench.Warning]{
	{Header: "Name", Value: func(w bench.Warning) any { return w.Name }, Name: true},
	{Header: "Message", Value: func(w bench.Warning) any { return w.Message }},
	{Header: "Fix", Value: func(w bench.Warning) any { return w.Fix }},
}}

// printBench prints a report: for people as tables with bars, and sentences.
func (a *App) printBench(r bench.Report) error {
	p := a.Printer
	if !p.ForPeople() {
		return output.One(p, &benchSheet, r)
	}
	fastest, slowest := 0.0, time.Duration(0)
	for _, rate := range r.Rates {
		fastest = max(fastest, rate.PerSecond())
	}
	for _, l := range r.Latencies {
		slowest = max(slowest, l.P50)
	}
	rates := withBars(rateSheet, p.Width, func(rate bench.Rate) float64 { return rate.PerSecond() / fastest })
	latencies := withBars(latencySheet, p.Width, func(l bench.Latency) float64 { return float64(l.P50) / float64(slowest) })
	return cmp.Or(
		p.Prose("Postgres "+r.Server+", at "+a.database.Target().Address+"; it took "+arg.Text(r.Took)+"."),
		p.Title("Throughput"), output.List(p, &rates, output.Rows(r.Rates)),
		p.Title("Latency"), output.List(p, &latencies, output.Rows(r.Latencies)),
		p.Title("What settings cost an enqueue"), output.List(p, &costSheet, output.Rows(r.Costs)),
		a.printSkipped(r),
		p.Title("What it means"), a.printSentences(r.Meaning),
		p.Title("Warnings"), a.printWarnings(r.Warnings),
		p.Title("What is left"), p.Prose(left(r)+"."),
	)
}

// bar draws a share from 0 to 1, in eighths of a character. What there is leaves a trace.
func bar(share float64, width int) string {
	if share <= 0 {
		return ""
	}
	eighths := max(1, int(share*float64(width)*8+0.5))
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

// withBars adds a column of bars, as wide as the widest of the tables leaves room for.
func withBars[T any](s output.Sheet[T], terminal int, share func(T) float64) output.Sheet[T] {
	width := 24
	if terminal > 0 {
		width = min(width, max(8, terminal-68))
	}
	s.Columns = append(slices.Clone(s.Columns), output.Column[T]{
		Value: func(row T) any { return bar(share(row), width) },
		Tone:  func(T) output.Tone { return output.Good },
	})
	return s
}

func (a *App) printSkipped(r bench.Report) error {
	for _, l := range r.Latencies {
		if l.Skipped != "" {
			if err := a.Printer.Prose("Not measured: " + l.What + ": " + l.Skipped + "."); err != nil {
				return err
			}
		}
	}
	for _, c := range r.Costs {
		if c.Skipped != "" {
			if err := a.Printer.Prose("Not measured: " + c.Name + ": " + c.Skipped + "."); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *App) printSentences(list []string) error {
	for _, s := range list {
		if err := a.Printer.Prose(s); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) printWarnings(list []bench.Warning) error {
	if len(list) == 0 {
		return a.Printer.Prose("None.")
	}
	for _, w := range list {
		if err := cmp.Or(a.Printer.Prose("! "+w.Message), a.Printer.Prose("  fix: "+w.Fix)); err != nil {
			return err
		}
	}
	return nil
}
