package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

// kinds are the forms: the key that names one, the name that "kind" may have instead and where its value then is.
var kinds = []struct{ key, kind, value string }{
	{"every", "interval", "every"},
	{"cron", "cron", "expression"},
	{"calendar", "calendar", ""},
	{"solar", "solar", "event"},
	{"clocked", "clocked", "runAt"},
}

// object is a JSON object whose keys are taken out as they are read. The first mistake is kept.
type object struct {
	path  string
	keys  map[string]json.RawMessage
	known []string
	err   error
}

func parseJSON(text string) (*Spec, error) {
	o, err := newObject("", []byte(text))
	if err != nil {
		return nil, err
	}
	key, err := o.form()
	if err != nil {
		return nil, err
	}
	switch key {
	case "every":
		return o.interval()
	case "cron":
		return o.cron()
	case "calendar":
		return o.calendar()
	case "solar":
		return o.solar()
	default:
		return o.clocked()
	}
}

// form returns the key of the form, having made an object with "kind" into one without.
func (o *object) form() (string, error) {
	kind := o.text("kind")
	if o.err != nil {
		return "", o.err
	}
	if kind != "" {
		return o.named(kind)
	}
	for _, alias := range []string{"everyMs", "every_ms"} {
		if raw, ok := o.keys[alias]; ok && o.keys["every"] == nil {
			o.keys["every"] = raw
			delete(o.keys, alias)
		}
	}
	var found []string
	for _, k := range kinds {
		if _, ok := o.keys[k.key]; ok {
			found = append(found, k.key)
		}
	}
	if len(found) != 1 {
		got := "none"
		if len(found) > 1 {
			got = strings.Join(found, " and ")
		}
		return "", wrong("", "%s; give exactly one of cron, every, clocked, calendar, solar", got)
	}
	return found[0], nil
}

func (o *object) named(kind string) (string, error) {
	var names []string
	for _, k := range kinds {
		names = append(names, k.kind)
		if kind != k.kind {
			continue
		}
		if k.value == "" {
			all, err := json.Marshal(o.keys)
			o.keys = map[string]json.RawMessage{k.key: all}
			return k.key, err
		}
		for _, alias := range []string{k.value, k.value + "Ms", k.value + "_ms", snake(k.value)} {
			if raw, ok := o.keys[alias]; ok {
				delete(o.keys, alias)
				o.keys[k.key] = raw
				return k.key, nil
			}
		}
		return "", wrong("kind", "%s needs %q", kind, k.value)
	}
	return "", oneOf("kind", kind, names...)
}

func (o *object) interval() (*Spec, error) {
	every := o.duration("every")
	start, end := o.text("startAt"), o.text("endAt")
	if err := o.rest(); err != nil {
		return nil, err
	}
	i, err := newInterval(every, start, end)
	return made("every", i, err)
}

func (o *object) cron() (*Spec, error) {
	text := o.text("cron")
	o.text("description")
	delete(o.keys, "secondField") // the Dart system's, which never read it
	if err := o.rest(); err != nil {
		return nil, err
	}
	p, err := parseCron(text)
	return made("cron", p, err)
}

func (o *object) clocked() (*Spec, error) {
	text := o.text("clocked")
	once := true
	o.take("runOnce", &once, "true")
	if err := o.rest(); err != nil {
		return nil, err
	}
	if !once {
		return nil, wrong("runOnce", "false; a clocked schedule fires once")
	}
	c, err := newClocked(text)
	return made("clocked", c, err)
}

func (o *object) solar() (*Spec, error) {
	s := &sun{event: o.text("solar")}
	latitude, longitude := o.degrees("latitude", 90), o.degrees("longitude", 180)
	offset := o.duration("offset")
	if err := o.rest(); err != nil {
		return nil, err
	}
	s.latitude, s.longitude = latitude, longitude
	if offset != "" {
		var err error
		if s.offset, err = parseDuration("offset", offset); err != nil {
			return nil, err
		}
	}
	return made("solar", s, s.check())
}

func newObject(path string, text []byte) (*object, error) {
	o := &object{path: path, keys: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, wrong(path, "want a JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, wrong(path, "not JSON: %v", err)
		}
		key := fmt.Sprint(t)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, wrong(o.at(key), "not JSON: %v", err)
		}
		if _, twice := o.keys[key]; twice {
			return nil, wrong(o.at(key), "given twice")
		}
		o.keys[key] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, wrong(path, "not JSON: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong(path, "something follows the object")
	}
	return o, nil
}

func (o *object) at(key string) string { return strings.TrimPrefix(o.path+"."+key, ".") }

// take reads a key, in either spelling, into a value and removes it; null is as good as absent.
func (o *object) take(key string, into any, want string) bool {
	o.known = append(o.known, key)
	for _, k := range []string{key, snake(key)} {
		raw, ok := o.keys[k]
		if !ok {
			continue
		}
		delete(o.keys, k)
		if string(raw) == "null" {
			return false
		}
		if err := json.Unmarshal(raw, into); err != nil && o.err == nil {
			o.err = wrong(o.at(k), "%s; want %s", quote(string(raw)), want)
		}
		return true
	}
	return false
}

func (o *object) text(key string) (s string) {
	o.take(key, &s, "a text")
	return s
}

// duration reads a key that is a text or, as the Dart system writes it, with Ms behind it and milliseconds.
func (o *object) duration(key string) string {
	var ms int64
	for _, k := range []string{key, key + "Ms"} {
		raw := o.keys[k]
		if raw == nil {
			raw = o.keys[snake(k)]
		}
		if len(raw) == 0 || raw[0] == '"' {
			continue
		}
		const most = int64(maxEvery / time.Millisecond)
		if o.take(k, &ms, "milliseconds or a text such as \"5m\"") {
			if (ms > most || ms < -most) && o.err == nil {
				o.err = wrong(o.at(k), "%d; want 100 years or less", ms)
			}
			return duration.Format(time.Duration(ms) * time.Millisecond)
		}
	}
	return o.text(key)
}

func (o *object) degrees(key string, limit float64) (f float64) {
	if !o.take(key, &f, "degrees") && o.err == nil {
		o.err = wrong(o.at(key), "nothing; want degrees from -%g to %g", limit, limit)
	}
	if (f < -limit || f > limit) && o.err == nil {
		o.err = wrong(o.at(key), "%g; want degrees from -%g to %g", f, limit, limit)
	}
	return f
}

// rest returns the first mistake, which may be a key that nobody took.
func (o *object) rest() error {
	if o.err != nil {
		return o.err
	}
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		return wrong(o.path, "unknown key %q%s", key, didYouMean(key, o.known))
	}
	return nil
}

// snake is startAt as start_at.
func snake(key string) string {
	var b strings.Builder
	for _, r := range key {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // texts and numbers that came out of JSON
	}
	return strings.TrimSpace(b.String())
}
