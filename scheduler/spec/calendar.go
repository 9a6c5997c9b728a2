package spec

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// calendar reads the lists and makes the fields of a pattern of them.
func (o *object) calendar() (*Spec, error) {
	raw := o.keys["calendar"]
	delete(o.keys, "calendar")
	if err := o.rest(); err != nil {
		return nil, err
	}
	lists, err := newObject("calendar", raw)
	if err != nil {
		return nil, err
	}
	r := &parser{}
	r.p.seconds = 1
	r.p.calendar = map[string]any{}
	for _, f := range []field{minutes, hours, monthdays, months, weekdays} {
		var items []any
		lists.take(f.key, &items, "a list")
		if lists.err != nil {
			return nil, lists.err
		}
		if err := r.list(f, items); err != nil {
			return nil, err
		}
	}
	if err := lists.rest(); err != nil {
		return nil, err
	}
	if !r.p.possible() {
		return nil, wrong("calendar", "never matches any date")
	}
	return made("calendar", &r.p, nil)
}

// list sets a field; an empty list is *.
func (r *parser) list(f field, items []any) error {
	if len(items) == 0 {
		return r.field(f, "*", 0)
	}
	values := make([]int, 0, len(items))
	for i, item := range items {
		r.path = fmt.Sprintf("calendar.%s[%d]", f.key, i)
		var text string
		switch v := item.(type) {
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		case string:
			text = v
		default:
			shown, _ := json.Marshal(item) //nolint:errchkjson // it was JSON
			text = string(shown)
		}
		v, err := r.value(f, text, 0)
		if err != nil {
			return err
		}
		r.p.set(f, v)
		values = append(values, v)
	}
	r.p.calendar[f.key] = values
	return nil
}
