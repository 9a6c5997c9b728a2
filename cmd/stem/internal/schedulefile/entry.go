package schedulefile

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

var (
	wrappers = []string{"schedules", "entries"}
	kinds    = []string{"cron", "every", "clocked", "calendar", "solar"}
	// history is what the Dart system keeps in the same file.
	history = []string{
		"lastRunAt", "nextRunAt", "lastJitterMs", "lastError", "totalRunCount", "lastSuccessAt", "lastErrorAt", "driftMs", "createdAt",
		"updatedAt", "version",
	}
	entryKeys = vocabulary{
		keys: slices.Concat([]string{
			"id", "task", "queue", "schedule", "startAt", "endAt", "latitude", "longitude", "offset", "timezone", "jitter", "enabled", "expireAt",
			"description", "args", "kwargs", "meta", "priority", "options", "policies",
		}, kinds, history),
		aliases: map[string]string{"name": "id", "taskName": "task", "spec": "schedule", "zone": "timezone", "jitterMs": "jitter"},
	}
	optionKeys = vocabulary{keys: []string{"maxAttempts", "hardLimit", "softLimit", "uniqueKey", "headers", "expiresIn", "group", "version"}}
	policyKeys = vocabulary{keys: []string{"gap", "overlap", "missed", "catchUpWindow", "catchUpMax", "previous", "pauseAfterFailures"}}
)

// file reads the shapes: a map by id or a list of entries, bare or under schedules or entries.
func (r *reader) file(f *File, root ast.Node) {
	r.ids = map[string]place{}
	body, under := root, ""
	if values := members(root); slices.ContainsFunc(values, isWrapper) {
		for _, e := range r.items(root, &vocabulary{keys: wrappers}, "", " beside "+strings.Join(wrappers, " or ")) {
			if under != "" {
				r.add(e.at, "both %s and %s; give one", under, e.as)
				continue
			}
			body, under = e.value, e.as
		}
	}
	if list, ok := body.(*ast.SequenceNode); ok {
		for _, node := range list.Values {
			r.entry(f, item{at: of(node), value: node})
		}
		return
	}
	if members(body) == nil {
		if m, ok := body.(*ast.MappingNode); !ok || len(m.Values) > 0 {
			r.add(of(body), "%swant a list of schedules, or a map of them by id", prefix(under))
		}
		return
	}
	for _, v := range members(body) { // not items, so that both of one id are looked at
		r.entry(f, item{key: v.Key.GetToken().Value, at: of(v), value: v.Value})
	}
}

func isWrapper(v *ast.MappingValueNode) bool {
	return slices.Contains(wrappers, v.Key.GetToken().Value)
}

func members(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// draft is an entry on its way.
type draft struct {
	*reader
	*source
	entry  *scheduler.Entry
	within string // in schedule "x"
	given  map[string]item
}

// entry reads one schedule; with a key it stands under its id.
func (r *reader) entry(f *File, e item) {
	d := &draft{
		reader: r, entry: &scheduler.Entry{ID: e.key}, given: map[string]item{},
		source: &source{at: e.at, fields: map[string]place{"id": e.at}, bad: map[string]bool{}, parts: map[string]ast.Node{}},
	}
	d.within = " in a schedule without an id"
	for _, v := range members(e.value) {
		if name, _ := entryKeys.find(v.Key.GetToken().Value); name == "id" && e.key == "" {
			if s, k := scalar(v.Value); k == text && s != "" {
				d.entry.ID = s
			}
		}
	}
	if d.entry.ID != "" {
		d.within = " in schedule " + quote(d.entry.ID)
	}
	for _, v := range r.items(e.value, &entryKeys, "", d.within) {
		if slices.Contains(history, v.key) {
			if !slices.Contains(r.ignored, v.as) {
				r.ignored = append(r.ignored, v.as)
			}
			continue
		}
		d.given[v.key] = v
	}
	d.identify(e.key)
	if len(d.given) == 0 && members(e.value) == nil {
		return // what it is instead has been said
	}
	d.fill()
	f.Entries = append(f.Entries, *d.entry)
	f.sources = append(f.sources, d.source)
}

// wrong is add for a field, of which no check is to say more.
func (d *draft) wrong(field string, p place, format string, args ...any) {
	d.bad[field] = true
	d.add(p, format, args...)
}

func (d *draft) identify(key string) {
	if v, ok := d.given["id"]; ok {
		d.fields["id"] = of(v.value)
		s, ok := d.text(v)
		switch {
		case !ok:
			d.bad["id"] = true
			return
		case key != "" && s != key:
			d.wrong("id", of(v.value), "%s: %s stands under the key %s; leave one out", v.as, quote(s), quote(key))
		}
	} else if key == "" {
		d.wrong("id", d.at, "schedule without an id")
		return
	}
	id := d.entry.ID
	if first, twice := d.ids[id]; twice {
		d.wrong("id", d.fields["id"], "schedule %s is defined twice, first in line %d", quote(id), first.line)
		return
	}
	d.ids[id] = d.fields["id"]
}

// fill reads all but the id.
func (d *draft) fill() {
	e := d.entry
	d.read("description", func(v item) (ok bool) { e.Description, ok = d.text(v); return ok })
	d.read("enabled", func(v item) bool {
		b, ok := d.boolean(v)
		e.Enabled = &b
		return ok
	})
	d.read("expireAt", func(v item) (ok bool) { e.ExpireAt, ok = d.instant(v); return ok })
	d.read("jitter", func(v item) (ok bool) { e.Jitter, ok = d.duration(v); return ok })
	d.read("timezone", func(v item) (ok bool) { e.Zone, ok = d.text(v); return ok })
	d.fields["zone"], d.bad["zone"] = d.place("timezone"), d.bad["timezone"]
	d.read("policies", func(v item) bool {
		d.policies(v)
		return true
	})
	d.when()
	d.job()
}

// read reads a field, if it is there, and remembers where it stands and whether that went well.
func (d *draft) read(field string, do func(item) bool) {
	v, ok := d.given[field]
	if !ok {
		return
	}
	d.fields[field] = of(v.value)
	before := len(d.problems)
	if !do(v) || len(d.problems) > before {
		d.bad[field] = true
	}
}

// below reads the keys of an object, each as a field of its own.
func (d *draft) below(of item, known *vocabulary, do map[string]func(item) bool) {
	for _, v := range d.items(of.value, known, of.as, d.within) {
		d.given[of.key+"."+v.key] = v
		d.read(of.key+"."+v.key, do[v.key])
	}
}

func (d *draft) policies(of item) {
	p := &d.entry.Policies
	word := func(into *string) func(item) bool {
		return func(v item) (ok bool) { *into, ok = d.text(v); return ok }
	}
	count := func(into *int, least int) func(item) bool {
		return func(v item) (ok bool) {
			if *into, ok = d.integer(v); ok && *into < least { // 0 in the program is the default
				d.add(d.place("policies."+v.key), "%s: want %d or more, got %d", v.path, least, *into)
			}
			return ok
		}
	}
	d.below(of, &policyKeys, map[string]func(item) bool{
		"gap": word(&p.Gap), "overlap": word(&p.Overlap), "missed": word(&p.Missed), "previous": word(&p.Previous),
		"catchUpMax": count(&p.CatchUpMax, 1), "pauseAfterFailures": count(&p.PauseAfterFailures, 0),
		"catchUpWindow": func(v item) (ok bool) {
			if p.CatchUpWindow, ok = d.duration(v); ok && p.CatchUpWindow == 0 {
				d.add(d.place("policies.catchUpWindow"), `%s: want 1s or more, got 0; for none write missed: skip`, v.path)
			}
			return ok
		},
	})
}

// job reads what is enqueued.
func (d *draft) job() {
	var task string
	var options []queue.Option
	if _, ok := d.given["task"]; !ok {
		d.wrong("task", d.at, "no task%s", d.within)
	}
	d.read("task", func(v item) (ok bool) { task, ok = d.text(v); return ok })
	d.read("queue", func(v item) bool {
		s, ok := d.text(v)
		options = append(options, queue.On(s))
		return ok
	})
	d.read("priority", func(v item) bool {
		n, ok := d.integer(v)
		options = append(options, queue.Priority(n))
		return ok
	})
	headers := map[string]item{}
	d.read("meta", func(v item) bool { options = append(options, d.headers(v, headers)...); return true })
	d.read("options", func(v item) bool { options = append(options, d.options(v, headers)...); return true })
	d.entry.Job = queue.Raw(task, d.arguments(), "", options...)
}

// headers reads meta or options.headers; a name that both have is a problem.
func (d *draft) headers(of item, seen map[string]item) []queue.Option {
	var list []queue.Option
	for _, v := range d.items(of.value, nil, of.path, d.within) {
		if first, twice := seen[v.key]; twice {
			d.add(v.at, "%s: the same header as %s in line %d", v.path, first.path, first.at.line)
			continue
		}
		seen[v.key] = v
		s, k := scalar(v.value)
		if k != text {
			d.text(v)
		}
		list = append(list, queue.Header(v.key, s))
	}
	return list
}

func (d *draft) options(of item, headers map[string]item) []queue.Option {
	var list []queue.Option
	number := func(option func(int) queue.Option) func(item) bool {
		return func(v item) bool {
			n, ok := d.integer(v)
			if ok {
				list = append(list, option(n))
			}
			return ok
		}
	}
	word := func(option func(string) queue.Option) func(item) bool {
		return func(v item) bool {
			s, ok := d.text(v)
			if ok {
				list = append(list, option(s))
			}
			return ok
		}
	}
	d.below(of, &optionKeys, map[string]func(item) bool{
		"maxAttempts": number(queue.MaxAttempts), "version": number(queue.Version),
		"uniqueKey": word(queue.UntilFinished), "group": word(queue.Group),
		"hardLimit": d.span(&list, queue.HardLimit), "softLimit": d.span(&list, queue.SoftLimit), "expiresIn": d.span(&list, queue.ExpiresIn),
		"headers": func(v item) bool { list = append(list, d.headers(v, headers)...); return true },
	})
	return list
}

func (d *draft) span(list *[]queue.Option, option func(time.Duration) queue.Option) func(item) bool {
	return func(v item) bool {
		t, ok := d.duration(v)
		if ok {
			*list = append(*list, option(t))
		}
		return ok
	}
}

// arguments merges args and kwargs.
func (d *draft) arguments() []byte {
	var all []item
	for _, key := range []string{"args", "kwargs"} {
		d.read(key, func(v item) bool {
			if members(v.value) == nil && !empty(v.value) {
				d.add(of(v.value), "%s: want an object, key: value", v.as)
				return false
			}
			if empty(v.value) {
				return true
			}
			for _, m := range d.items(v.value, nil, v.as, "") {
				if i := slices.IndexFunc(all, func(o item) bool { return o.key == m.key }); i >= 0 {
					d.add(m.at, "%s: args has the same key in line %d", m.path, all[i].at.line)
					continue
				}
				all = append(all, m)
			}
			return true
		})
	}
	var b bytes.Buffer
	before := len(d.problems)
	d.object(&b, all)
	if len(d.problems) > before {
		d.bad["args"] = true
	}
	return b.Bytes()
}

// empty tells whether a node is {} or nothing.
func empty(node ast.Node) bool {
	if m, ok := node.(*ast.MappingNode); ok {
		return len(m.Values) == 0
	}
	_, none := node.(*ast.NullNode)
	return none
}
