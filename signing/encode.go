package signing

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/internal/keylist"
)

// Limits of what is signed. The database has the same or narrower ones: what cannot be stored is not signed either, and a
// row that says it was is wrong.
const (
	maxName        = 128
	maxLabel       = 256
	maxText        = 64 << 10 // of a schedule: its spec, its policies
	maxUniqueKey   = 2 << 10
	maxHeaders     = 64
	maxHeaderBytes = 16 << 10
)

var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// encoder writes the bytes that are signed: DSSE's pre-authentication encoding of a list of fields. It is pooled, because
// there is one for every job that is enqueued and every job that is claimed.
type encoder struct {
	buf    []byte // room for the prefix, then the body
	fields uint16
	last   uint16
	bare   bool     // without the hash of what the message carries
	names  []string // of the headers, to sort them
	list   []byte   // of the headers, encoded
	err    error
}

// room is kept before the body for what precedes it: its length is known when the body's is.
const room = 64

var encoders = sync.Pool{New: func() any { return &encoder{buf: make([]byte, room, 1024)} }}

// takeEncoder takes an encoder that put gives back.
func takeEncoder() *encoder {
	return encoders.Get().(*encoder) //nolint:errcheck // the pool holds nothing else
}

// put gives an encoder back, without what it was pointing to.
func (e *encoder) put() {
	clear(e.names)
	encoders.Put(e)
}

// body encodes a message's fields. What it returns is valid until the encoder is used again.
func (e *encoder) body(m Message, alg, keyID, audience string) ([]byte, error) {
	e.buf, e.fields, e.last, e.err = append(e.buf[:room], 0, 0), 0, 0, nil
	e.text(1, "algorithm", alg, maxName)
	e.text(2, "key id", keyID, keylist.MaxID)
	e.name(3, "audience", audience)
	// A switch and no method of the interface: called through one, every message would escape to the heap.
	switch m := m.(type) {
	case *Job:
		m.encode(e)
	case *Schedule:
		m.encode(e)
	case *Result:
		m.encode(e)
	case *Control:
		m.encode(e)
	default:
		e.fail("there is no message")
	}
	if e.err != nil {
		return nil, e.err
	}
	binary.BigEndian.PutUint16(e.buf[room:], e.fields)
	return e.buf[room:], nil
}

// message encodes what is signed: "DSSEv1", the type and the body, each with its length.
func (e *encoder) message(m Message, mediaType, alg, keyID, audience string) ([]byte, error) {
	e.bare = false
	body, err := e.body(m, alg, keyID, audience)
	if err != nil {
		return nil, err
	}
	var prefix [room]byte
	p := append(prefix[:0], "DSSEv1 "...)
	p = strconv.AppendInt(p, int64(len(mediaType)), 10)
	p = append(p, ' ')
	p = append(p, mediaType...)
	p = append(p, ' ')
	p = strconv.AppendInt(p, int64(len(body)), 10)
	p = append(p, ' ')
	start := room - len(p)
	copy(e.buf[start:], p)
	return e.buf[start:], nil
}

// AssociatedData returns the body of a message without the hash of what it carries, the payload of a job: what signing/encryption
// binds a ciphertext to. Its first three fields are the algorithm, the key and the audience of the encryption.
func AssociatedData(m Message, algorithm, keyID, audience string) ([]byte, error) {
	e := takeEncoder()
	defer e.put()
	e.bare = true
	body, err := e.body(m, algorithm, keyID, audience)
	if err != nil {
		return nil, fmt.Errorf("signing: %s: %w", kindOf(m).name, err)
	}
	return slices.Clone(body), nil
}

func (e *encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

// field begins a field whose n bytes the caller appends.
func (e *encoder) field(id uint16, n int) {
	if id <= e.last {
		panic("signing: field " + strconv.Itoa(int(id)) + " is out of order")
	}
	e.last = id
	e.fields++
	e.buf = binary.BigEndian.AppendUint16(e.buf, id)
	e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(n)) //nolint:gosec // every caller has a limit far below
}

func (e *encoder) bytes(id uint16, what string, b []byte, limit int) {
	if len(b) == 0 || len(b) > limit {
		e.fail("%s: want 1 to %d bytes, got %d", what, limit, len(b))
		return
	}
	e.field(id, len(b))
	e.buf = append(e.buf, b...)
}

func (e *encoder) id(id uint16, what string, v [16]byte) {
	if v == [16]byte{} {
		e.fail("%s is missing", what)
	}
	e.field(id, len(v))
	e.buf = append(e.buf, v[:]...)
}

// name is for identifiers: they are ASCII, so that there is one way only to write them.
func (e *encoder) name(id uint16, what, s string) {
	if !validName(s) {
		e.fail("%s: names are 1-%d of letters, digits, _ . : / -; got %s", what, maxName, abbreviate(s))
	}
	e.string(id, s)
}

func (e *encoder) text(id uint16, what, s string, limit int) {
	switch {
	case s == "" || len(s) > limit:
		e.fail("%s: want 1 to %d bytes, got %d", what, limit, len(s))
	case !storable(s):
		e.fail("%s: want valid UTF-8 without NUL, got %s", what, abbreviate(s))
	}
	e.string(id, s)
}

func (e *encoder) optional(id uint16, what, s string, limit int) {
	if s != "" {
		e.text(id, what, s, limit)
	}
}

func (e *encoder) string(id uint16, s string) {
	e.field(id, len(s))
	e.buf = append(e.buf, s...)
}

func (e *encoder) int64(id uint16, v int64) {
	e.field(id, 8)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) //nolint:gosec // two's complement is the encoding
}

func (e *encoder) int32(id uint16, what string, v int) {
	if v < math.MinInt32 || v > math.MaxInt32 {
		e.fail("%s: %d does not fit in 32 bits", what, v)
	}
	e.field(id, 4)
	e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) //nolint:gosec // checked above
}

func (e *encoder) bool(id uint16, v bool) {
	e.field(id, 1)
	b := byte(0)
	if v {
		b = 1
	}
	e.buf = append(e.buf, b)
}

// instant leaves the zero time out.
func (e *encoder) instant(id uint16, what string, t time.Time) {
	if t.IsZero() {
		return
	}
	us := t.UnixMicro()
	switch {
	case us < earliest || us > latest:
		e.fail("%s: want a time from 2000 to 2200, got year %d", what, t.Year())
	case t.Nanosecond()%1000 != 0:
		e.fail("%s: %v has fractions of a microsecond, which are not stored", what, t.UTC())
	}
	e.int64(id, us)
}

// duration leaves 0 out.
func (e *encoder) duration(id uint16, what string, d time.Duration) {
	switch {
	case d == 0:
		return
	case d < 0 || d%time.Microsecond != 0:
		e.fail("%s: want whole microseconds, got %v", what, d)
	}
	e.int64(id, d.Microseconds())
}

// content signs what a message carries.
func (e *encoder) content(id uint16, b []byte) {
	if !e.bare {
		e.hash(id, b)
	}
}

func (e *encoder) hash(id uint16, b []byte) {
	sum := sha256.Sum256(b)
	e.field(id, len(sum))
	e.buf = append(e.buf, sum[:]...)
}

// headers signs the hash of a list: a count, then each name and value with its length, sorted by the bytes of the names.
func (e *encoder) headers(id uint16, headers map[string]string) {
	if len(headers) > maxHeaders {
		e.fail("headers: want at most %d, got %d", maxHeaders, len(headers))
		return
	}
	e.names = e.names[:0]
	total := 0
	for name, value := range headers {
		total += len(name) + len(value)
		e.names = append(e.names, name)
	}
	if total > maxHeaderBytes {
		e.fail("headers: want at most %d bytes together, got %d", maxHeaderBytes, total)
		return
	}
	slices.Sort(e.names)
	e.list = binary.BigEndian.AppendUint32(e.list[:0], uint32(len(e.names))) //nolint:gosec // at most 64
	for _, name := range e.names {
		if name == "" || !storable(name) || !storable(headers[name]) {
			e.fail("header %s: want a name, and valid UTF-8 without NUL", abbreviate(name))
		}
		e.headerText(name)
		e.headerText(headers[name])
	}
	e.hash(id, e.list)
}

func (e *encoder) headerText(s string) {
	e.list = binary.BigEndian.AppendUint32(e.list, uint32(len(s))) //nolint:gosec // at most 16 KiB
	e.list = append(e.list, s...)
}

// storable tells whether Postgres takes a text.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !keylist.IDByte(c) && c != ':' && c != '/' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// abbreviate quotes a text for an error.
func abbreviate(s string) string {
	if len(s) <= 60 {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:60], "")) + "…"
}
