package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// entry is a row of ledger.files or ledger.effects.
type entry struct {
	Path   string
	Job    uuid.UUID
	Digest []byte
	Done   bool // the job is in stem.finished as completed
}

// judge compares what the database says with the files, and with what the producers remember.
func (l *ledger) judge(ctx context.Context, made *produced) (summary, error) {
	s := summary{Committed: len(made.jobs), RolledBack: len(made.rolledBack)}
	files, err := l.entries(ctx, `
select l.path, l.job, l.digest, exists (select from stem.finished f where f.job_id = l.job and f.outcome = 'completed')
from ledger.files l where l.run = $1`)
	if err != nil {
		return s, err
	}
	effects, err := l.entries(ctx, "select path, job, digest, true from ledger.effects where run = $1")
	if err != nil {
		return s, err
	}
	if err := l.judgeFiles(&s, made, files, effects); err != nil {
		return s, err
	}
	notes, err := readNotes(l.notes)
	if err != nil {
		return s, err
	}
	ran := map[string]bool{}
	for _, n := range notes {
		if made.jobs[n.Path] != n.Job {
			s.Ghosts++
			l.say("ghost: a handler ran job %s for %s, which was rolled back", n.Job, n.Path)
		}
		ran[n.Path] = true
	}
	l.say("handlers began %d times for %d files", len(notes), len(ran))
	l.reportAttempts(ctx)
	return s, nil
}

// judgeFiles counts what is wrong with files and effects. A file is missing unless digest, effect and completed job are all
// there: one without the others would be worse than none.
func (l *ledger) judgeFiles(s *summary, made *produced, files, effects []entry) error {
	seen := map[uuid.UUID]int{}
	for _, e := range effects {
		if made.jobs[e.Path] != e.Job {
			s.Ghosts++
			l.say("ghost: an effect of job %s for %s, which was rolled back", e.Job, e.Path)
			continue
		}
		if seen[e.Job]++; seen[e.Job] > 1 {
			s.Duplicates++
			l.say("duplicate: job %s for %s took effect %d times", e.Job, e.Path, seen[e.Job])
		}
	}
	entered := make(map[string]entry, len(files))
	for _, e := range files {
		entered[e.Path] = e
		if made.jobs[e.Path] != e.Job {
			s.Ghosts++
			l.say("ghost: a row for %s, which was rolled back", e.Path)
		}
	}
	for path, job := range made.jobs {
		e := entered[path]
		if e.Done {
			s.Completed++
		}
		if e.Digest == nil || !e.Done || seen[job] == 0 {
			s.Missing++
			l.say("missing: %s, job %s: digest %v, job completed %v, effects %d", path, job, e.Digest != nil, e.Done, seen[job])
			continue
		}
		want, err := digestOf(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(e.Digest, want) {
			s.Mismatched++
			l.say("mismatched: %s: the ledger says %x, the file %x", path, e.Digest, want)
		}
	}
	return nil
}

func (l *ledger) entries(ctx context.Context, sql string) ([]entry, error) {
	rows, err := l.direct.Query(ctx, sql, l.id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
}

// reportAttempts says how often something went otherwise than well.
func (l *ledger) reportAttempts(ctx context.Context) {
	var text string
	err := l.direct.QueryRow(ctx, `
select coalesce(string_agg(x.outcome || ' ' || x.n, ', ' order by x.outcome), 'none')
from (select a.outcome, count(*) as n from stem.attempts a join ledger.files l on l.job = a.job_id where l.run = $1 group by a.outcome) x`,
		l.id).Scan(&text)
	if err != nil {
		text = err.Error()
	}
	l.say("attempts that did not complete: %s", text)
}

// readNotes reads what the handlers noted. The last line of a killed worker may be cut short only if the machine is: a write
// of one line is one call.
func readNotes(dir string) (all []note, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var n note
			if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", name, lines.Bytes(), err)
			}
			all = append(all, n)
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
