package output_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

type state string

type attempt struct {
	N     int
	Error string
}

type job struct {
	ID       string
	Queue    string
	State    state
	Attempts int
	Age      time.Duration
	Due      time.Time
	Lease    *time.Duration
	Tags     []string
	Args     json.RawMessage
	Tries    []attempt
	Note     string
}

var attempts = output.Sheet[attempt]{Noun: "attempt", Columns: []output.Column[attempt]{
	{Header: "N", Value: func(a attempt) any { return a.N }},
	{Header: "Error", Value: func(a attempt) any { return a.Error }},
}}

var jobs = output.Sheet[job]{Noun: "job", Columns: []output.Column[job]{
	{Header: "ID", Value: func(j job) any { return j.ID }, Name: true},
	{Header: "Queue", Value: func(j job) any { return j.Queue }},
	{Header: "State", Value: func(j job) any { return j.State }, Tone: func(j job) output.Tone {
		if j.State == "dead" {
			return output.Bad
		}
		return output.Plain
	}},
	{Header: "Attempts", Value: func(j job) any { return j.Attempts }},
	{Header: "Age", Value: func(j job) any { return j.Age }},
	{Header: "Note", Value: func(j job) any { return j.Note }},
	{Header: "Due at", Value: func(j job) any { return j.Due }, Wide: true},
	{Header: "Lease", Value: func(j job) any { return j.Lease }, Wide: true},
	{Header: "Tags", Value: func(j job) any { return j.Tags }, Data: true},
	{Header: "Arguments", Key: "args", Value: func(j job) any { return j.Args }, Data: true},
	{Header: "Tries", Value: func(j job) any { return output.Nest(&attempts, j.Tries) }, Data: true},
}}

var two = []job{
	{
		ID: "0198f0c2-0000-7000-8000-000000000001", Queue: "mail", State: "ready", Attempts: 3, Age: 12300 * time.Millisecond,
		Due: time.Date(2026, 1, 2, 16, 4, 5, 678000000, time.FixedZone("", 3600)), Lease: new(30 * time.Second),
		Tags: []string{"a", "b"}, Args: json.RawMessage(`{"user":7}`), Tries: []attempt{{1, "no <route>"}}, Note: "no",
	},
	{ID: "0198f0c2-0000-7000-8000-000000000002", Queue: "évil\x1b[2J", State: "dead", Attempts: 20, Note: "a \"b\", c\nd"},
}

func all(rows []job, last error) iter.Seq2[job, error] {
	return func(yield func(job, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
		if last != nil {
			yield(job{}, last)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		output.Table: `ID                                    QUEUE        STATE  ATTEMPTS  AGE  NOTE
0198f0c2-0000-7000-8000-000000000001  mail         ready         3  12s  no
0198f0c2-0000-7000-8000-000000000002  évil\x1b[2J  dead         20   0s  a "b", c\nd
`,
		output.Wide: `ID                                    QUEUE        STATE  ATTEMPTS  AGE  NOTE         DUE AT                LEASE
0198f0c2-0000-7000-8000-000000000001  mail         ready         3  12s  no           2026-01-02T15:04:05Z    30s
0198f0c2-0000-7000-8000-000000000002  évil\x1b[2J  dead         20   0s  a "b", c\nd  -                         -
`,
		output.JSONL: `{"id":"0198f0c2-0000-7000-8000-000000000001","queue":"mail","state":"ready","attempts":3,"ageSeconds":12.3,"age":"12s","note":"no","dueAt":"2026-01-02T15:04:05.678Z","leaseSeconds":30,"lease":"30s","tags":["a","b"],"args":{"user":7},"tries":[{"n":1,"error":"no <route>"}]}
{"id":"0198f0c2-0000-7000-8000-000000000002","queue":"évil\u001b[2J","state":"dead","attempts":20,"ageSeconds":0,"age":"0s","note":"a \"b\", c\nd","dueAt":null,"leaseSeconds":null,"lease":null,"tags":[],"args":null,"tries":[]}
`,
		output.Name: "0198f0c2-0000-7000-8000-000000000001\n0198f0c2-0000-7000-8000-000000000002\n",
		output.CSV: "id,queue,state,attempts,ageSeconds,age,note,dueAt,leaseSeconds,lease,tags,args,tries\r\n" +
			`0198f0c2-0000-7000-8000-000000000001,mail,ready,3,12.3,12s,no,2026-01-02T15:04:05.678Z,30,30s,"a,b","{""user"":7}","[{""n"":1,""error"":""no <route>""}]"` + "\r\n" +
			"0198f0c2-0000-7000-8000-000000000002,évil\x1b[2J,dead,20,0,0s,\"a \"\"b\"\", c\r\nd\",,,,,,[]\r\n",
		output.YAML: `- id: "0198f0c2-0000-7000-8000-000000000001"
  queue: mail
  state: ready
  attempts: 3
  ageSeconds: 12.3
  age: "12s"
  note: "no"
  dueAt: "2026-01-02T15:04:05.678Z"
  leaseSeconds: 30
  lease: "30s"
  tags:
  - a
  - b
  args: {"user":7}
  tries:
  - "n": 1
    error: "no <route>"
- id: "0198f0c2-0000-7000-8000-000000000002"
  queue: "évil\u001b[2J"
  state: dead
  attempts: 20
  ageSeconds: 0
  age: "0s"
  note: "a \"b\", c\nd"
  dueAt: null
  leaseSeconds: null
  lease: null
  tags: []
  args: null
  tries: []
`,
	}
	for format, want := range want {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			p := &output.Printer{Out: &out, Err: &errs, Format: format}
			if err := output.List(p, &jobs, all(two, nil)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("%s", diff)
			}
			if errs.Len() > 0 {
				t.Errorf("stderr: %q", errs.String())
			}
		})
	}
}

func TestJSONListIsTheSameObjectsIndented(t *testing.T) {
	t.Parallel()
	var pretty, lines bytes.Buffer
	if err := output.List(&output.Printer{Out: &pretty, Format: output.JSON}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	if err := output.List(&output.Printer{Out: &lines, Format: output.JSONL}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(pretty.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	var joined bytes.Buffer
	for _, obj := range list {
		if err := json.Compact(&joined, obj); err != nil {
			t.Fatal(err)
		}
		joined.WriteByte('\n')
	}
	if diff := cmp.Diff(lines.String(), joined.String()); diff != "" {
		t.Error(diff)
	}
}

func TestYAMLReadsBackAsTheJSON(t *testing.T) {
	t.Parallel()
	var doc, jsonDoc bytes.Buffer
	if err := output.List(&output.Printer{Out: &doc, Format: output.YAML}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	if err := output.List(&output.Printer{Out: &jsonDoc, Format: output.JSON}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	var decoded, got, want any
	if err := yaml.Unmarshal(doc.Bytes(), &decoded); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(back, &got), json.Unmarshal(jsonDoc.Bytes(), &want)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFailureLeavesNoHalfDocument(t *testing.T) {
	t.Parallel()
	boom := errors.New("connection lost")
	for _, format := range []string{output.JSON, output.YAML, output.Table} {
		var out bytes.Buffer
		err := output.List(&output.Printer{Out: &out, Format: format}, &jobs, all(two, boom))
		if !errors.Is(err, boom) || out.Len() > 0 {
			t.Errorf("%s: error %v, output %q", format, err, out.String())
		}
	}
}

func TestAnEmptyListSaysSoOnStderr(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		output.Table: "", output.JSON: "[]\n", output.JSONL: "", output.YAML: "[]\n", output.Name: "",
		output.CSV: "id,queue,state,attempts,ageSeconds,age,note,dueAt,leaseSeconds,lease,tags,args,tries\r\n",
	} {
		var out, errs bytes.Buffer
		p := &output.Printer{Out: &out, Err: &errs, Format: format}
		if err := output.List(p, &jobs, all(nil, nil)); err != nil {
			t.Fatal(err)
		}
		if out.String() != want || errs.String() != "no jobs\n" {
			t.Errorf("%s: stdout %q, stderr %q", format, out.String(), errs.String())
		}
	}
}

func TestOne(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := output.One(&output.Printer{Out: &out}, &jobs, two[0]); err != nil {
		t.Fatal(err)
	}
	want := `ID         0198f0c2-0000-7000-8000-000000000001
Queue      mail
State      ready
Attempts   3
Age        12s
Note       no
Due at     2026-01-02T15:04:05Z
Lease      30s
Tags       a,b
Arguments  {"user":7}

Tries
N  ERROR
1  no <route>
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	rows := []job{two[0]}
	rows[0].Note = strings.Repeat("long and 日本語 ", 20)
	for _, width := range []int{80, 100, 120} {
		var out bytes.Buffer
		p := &output.Printer{Out: &out, Width: width, Colour: true}
		if err := output.List(p, &jobs, all(rows, nil)); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if w := ansi.StringWidth(strings.TrimSuffix(line, "\n")); w > width {
				t.Errorf("a line of %d columns on a terminal of %d: %q", w, width, line)
			}
		}
		if !strings.Contains(out.String(), "…") || !strings.Contains(out.String(), rows[0].ID) {
			t.Errorf("width %d: not shortened, or the id was: %q", width, out.String())
		}
	}
}

func TestColourComesOnTopOfTheSameText(t *testing.T) {
	t.Parallel()
	var plain, coloured bytes.Buffer
	if err := output.List(&output.Printer{Out: &plain}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	if err := output.List(&output.Printer{Out: &coloured, Colour: true}, &jobs, all(two, nil)); err != nil {
		t.Fatal(err)
	}
	if plain.String() == coloured.String() {
		t.Error("no colour")
	}
	if diff := cmp.Diff(plain.String(), ansi.Strip(coloured.String())); diff != "" {
		t.Error(diff)
	}
}

// A stream must not be held back: the second row is produced after the first was written.
func TestJSONLinesStream(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	rows := func(yield func(job, error) bool) {
		if !yield(two[0], nil) {
			return
		}
		if strings.Count(out.String(), "\n") != 1 {
			t.Error("the first row is not out before the second is asked for")
		}
		yield(two[1], nil)
	}
	if err := output.List(&output.Printer{Out: &out, Format: output.JSONL}, &jobs, rows); err != nil {
		t.Fatal(err)
	}
}

func TestTheReaderIsAskedForNoMoreAfterAFailedWrite(t *testing.T) {
	t.Parallel()
	asked := 0
	rows := func(yield func(job, error) bool) {
		for range 10 {
			asked++
			if !yield(two[0], nil) {
				return
			}
		}
	}
	err := output.List(&output.Printer{Out: broken{}, Format: output.JSONL}, &jobs, rows)
	if !errors.Is(err, errBroken) || asked != 1 {
		t.Errorf("error %v after %d rows", err, asked)
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestPreciseDurations(t *testing.T) {
	t.Parallel()
	type row struct{ P50, P99 time.Duration }
	sheet := output.Sheet[row]{Noun: "row", Columns: []output.Column[row]{
		{Header: "P50", Value: func(r row) any { return output.Precise(r.P50) }},
		{Header: "P99", Value: func(r row) any { return output.Precise(r.P99) }},
	}}
	rows := []row{{1234567, 0}, {345678, time.Second}}
	for format, want := range map[string]string{
		output.Table: "   P50    P99\n1.23ms      -\n 346µs  1.00s\n",
		output.JSONL: `{"p50Seconds":0.001234567,"p50":"1.23ms","p99Seconds":null,"p99":null}` + "\n" +
			`{"p50Seconds":0.000345678,"p50":"346µs","p99Seconds":1,"p99":"1.00s"}` + "\n",
		output.CSV: "p50Seconds,p50,p99Seconds,p99\r\n0.001234567,1.23ms,,\r\n0.000345678,346µs,1,1.00s\r\n",
	} {
		var out bytes.Buffer
		p := output.Printer{Out: &out, Err: &out, Format: format}
		if err := output.List(&p, &sheet, output.Rows(rows)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
}

func TestProse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		width  int
		colour bool
		want   string
	}{
		{0, false, "\nMeaning\nit is \\x1b[2J what it is\n"},
		{12, false, "\nMeaning\nit is\n\\x1b[2J what\nit is\n"},
		{0, true, "\n\x1b[1mMeaning\x1b[m\nit is \\x1b[2J what it is\n"},
	} {
		var out bytes.Buffer
		p := output.Printer{Out: &out, Width: tt.width, Colour: tt.colour}
		if err := p.Title("Meaning"); err != nil {
			t.Fatal(err)
		}
		if err := p.Prose("it is \x1b[2J what it is"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("width %d: %s", tt.width, diff)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, colour := range []bool{false, true} {
		p := output.Printer{Out: &b, Colour: colour}
		if err := p.Line(output.Bad, "- a\x1b[2J"); err != nil {
			t.Fatal(err)
		}
		if err := p.Line(output.Plain, "= b"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.String(), "- a\\x1b[2J\n= b\n\x1b[1;31m- a\\x1b[2J\x1b[m\n= b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
