package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

// member is one key of an object; objects keep the order of their members.
type member struct {
	key   string
	value any
}

// appendMember adds a value under its key, in the form that JSON has for it. A duration becomes two members.
func appendMember(all []member, key string, v any) []member {
	v = present(v)
	switch v := v.(type) {
	case absentDuration:
		return append(all, member{key + "Seconds", nil}, member{key, nil})
	case time.Duration:
		return append(all, member{key + "Seconds", v.Seconds()}, member{key, arg.Text(v)})
	case Precise:
		return append(all, member{key + "Seconds", time.Duration(v).Seconds()}, member{key, arg.Precise(time.Duration(v))})
	case time.Time:
		return append(all, member{key, v.UTC().Format(time.RFC3339Nano)})
	case []string:
		if v == nil {
			v = []string{}
		}
		return append(all, member{key, v})
	}
	return append(all, member{key, v})
}

// Precise is a duration in which every digit of three matters: one that was measured. Nought is absent.
type Precise time.Duration

// absentDuration stands for a nil *time.Duration, which still has two members.
type absentDuration struct{}

// present follows pointers and turns the zero time and nil into nil.
func present(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case *time.Duration:
		if v == nil {
			return absentDuration{}
		}
		return *v
	case Precise:
		if v == 0 {
			return absentDuration{}
		}
		return v
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v
	case json.RawMessage:
		if len(v) == 0 {
			return nil
		}
		return v
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil
		}
		return present(r.Elem().Interface())
	}
	return v
}

// cell is the text of a value in a table, before it is made harmless.
func cell(v any) string {
	switch v := present(v).(type) {
	case nil, absentDuration:
		return ""
	case string:
		return v
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05Z")
	case time.Duration:
		return arg.Text(v)
	case Precise:
		return arg.Precise(time.Duration(v))
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []string:
		return strings.Join(v, ",")
	case json.RawMessage:
		return string(v)
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	case Nested:
		return strconv.Itoa(len(v.rows))
	default:
		return fmt.Sprint(v)
	}
}

// rightAligned tells whether a value lines up on its last digit.
func rightAligned(v any) bool {
	v = present(v)
	switch v.(type) {
	case time.Duration, Precise:
		return true
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	}
	return false
}

// appendJSON writes an object on one line.
func appendJSON(b *bytes.Buffer, members []member) error {
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%q:", m.key)
		if n, ok := m.value.(Nested); ok {
			if err := appendArray(b, n.rows); err != nil {
				return err
			}
			continue
		}
		text, err := marshal(m.value)
		if err != nil {
			return fmt.Errorf("output: %s: %w", m.key, err)
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return nil
}

func appendArray(b *bytes.Buffer, rows [][]member) error {
	b.WriteByte('[')
	for i, row := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := appendJSON(b, row); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// marshal is json.Marshal without the escapes meant for HTML, which make queries and errors hard to read.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
