package schedulefile

import (
	"bytes"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// beside are the keys that belong to one kind.
var beside = []struct {
	kind string
	keys []string
}{{"every", []string{"startAt", "endAt"}}, {"solar", []string{"latitude", "longitude", "offset"}}}

// when makes the text that spec.Parse reads out of the keys that say when.
func (d *draft) when() {
	var given []item
	for _, key := range append(slices.Clone(kinds), "schedule") {
		if v, ok := d.given[key]; ok {
			given = append(given, v)
		}
	}
	slices.SortFunc(given, func(a, b item) int { return compare(a.at, b.at) })
	switch len(given) {
	case 0:
		d.wrong("spec", d.at, "no schedule%s; give exactly one of %s", d.within, strings.Join(kinds, ", "))
		return
	case 1:
	default:
		d.wrong("spec", given[1].at, "both %s and %s%s; give exactly one of %s", given[0].as, given[1].as, d.within, strings.Join(kinds, ", "))
		return
	}
	main := given[0]
	for _, b := range beside {
		for _, key := range b.keys {
			if v, ok := d.given[key]; ok && main.key != b.kind {
				d.wrong("spec", v.at, "%s%s belongs to %s", v.as, d.within, b.kind)
			}
		}
	}
	d.whole, d.fields["spec"] = main.value, of(main.value)
	if main.key == "schedule" {
		d.written()
		return
	}
	d.assemble(main)
}

// written is a spec as spec.Parse takes it, a text or an object.
func (d *draft) written() {
	d.read("schedule", func(v item) (ok bool) {
		if list := members(v.value); list != nil {
			d.remember("", list)
			var b bytes.Buffer
			ok = d.json(&b, v.as, v.value)
			d.entry.Spec = b.String()
			return ok
		}
		d.entry.Spec, ok = d.text(v)
		d.parts["cron"], d.parts["every"] = v.value, v.value
		return ok
	})
	d.bad["spec"] = d.bad["spec"] || d.bad["schedule"]
}

// assemble writes the keys of one kind as an object.
func (d *draft) assemble(main item) {
	var b bytes.Buffer
	before := len(d.problems)
	b.WriteByte('{')
	for i, key := range append([]string{main.key}, keysOf(main.key)...) {
		v, ok := d.given[key]
		if !ok {
			continue
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(key))
		b.WriteByte(':')
		d.parts[key] = v.value
		d.remember(key+".", members(v.value))
		switch key {
		case "calendar":
			if members(v.value) == nil {
				d.add(of(v.value), "calendar: want months, weekdays, monthdays, hours or minutes, each a list")
				continue
			}
			d.json(&b, key, v.value)
		case "latitude", "longitude":
			d.json(&b, key, v.value)
		default:
			s, _ := d.unit(v)
			b.Write(encode(s))
		}
	}
	b.WriteByte('}')
	d.entry.Spec = b.String()
	if len(d.problems) > before {
		d.bad["spec"] = true
	}
}

// unit is text for what may look like a number when its unit is missing.
func (d *draft) unit(v item) (string, bool) {
	s, k := scalar(v.value)
	if k == number && (v.key == "every" || v.key == "offset") {
		d.add(of(v.value), "%s: %q has no unit; write 5s, 2m or 1h30m", v.path, clip(s))
		return "", false
	}
	return d.text(v)
}

func keysOf(kind string) []string {
	for _, b := range beside {
		if b.kind == kind {
			return b.keys
		}
	}
	return nil
}

// remember notes where the parts of an object stand, by the paths that spec.Error has for them.
func (d *draft) remember(path string, list []*ast.MappingValueNode) {
	for _, v := range list {
		key := path + v.Key.GetToken().Value
		d.parts[key] = v.Value
		d.remember(key+".", members(v.Value))
		if s, ok := v.Value.(*ast.SequenceNode); ok {
			for i, e := range s.Values {
				d.parts[key+index(i)] = e
			}
		}
	}
}
