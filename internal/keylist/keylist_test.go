package keylist

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]Entry{
		"v1:a":                         {{"v1", "a"}},
		"v1:a,v2:b":                    {{"v1", "a"}, {"v2", "b"}},
		"v1:a ,\n\tv2:b\r\n,":          {{"v1", "a"}, {"v2", "b"}},
		"v1:a:b":                       {{"v1", "a:b"}},
		"v1:":                          {{"v1", ""}},
		strings.Repeat("i", 64) + ":a": {{strings.Repeat("i", 64), "a"}},
		"a.B-0_:x":                     {{"a.B-0_", "x"}},
	} {
		got, problems := Parse("S", text)
		if diff := cmp.Diff(got, want); diff != "" || problems != nil {
			t.Errorf("%q: %v %s", text, problems, diff)
		}
	}
	const shape, id = ": want id:base64", ": want an id of 1-64 letters, digits, _ . - before the colon"
	for text, want := range map[string]string{
		"":                             "S entry 1" + shape,
		",":                            "S entry 1" + shape,
		"v1":                           "S entry 1" + shape,
		"v1:a,,v2:b":                   "S entry 2" + shape,
		"v1:a,,":                       "S entry 2" + shape,
		":a":                           "S entry 1" + id,
		"v 1:a":                        "S entry 1" + id,
		"é:a":                          "S entry 1" + id,
		"v1 :a":                        "S entry 1" + id,
		strings.Repeat("i", 65) + ":a": "S entry 1" + id,
		"x,y:z,a/b:c":                  "S entry 1" + shape + "\nS entry 3" + id,
	} {
		if _, problems := Parse("S", text); errors.Join(problems...) == nil || errors.Join(problems...).Error() != want {
			t.Errorf("%q: got %v, want %s", text, problems, want)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{{}, {0xfb}, {0xfb, 0xef}, {0xfb, 0xef, 0xff}, bytes.Repeat([]byte{0xfb, 0xef, 0xbe, 0xff}, 10)} {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(b)
			got, urlSafe, err := Decode(text)
			if !bytes.Equal(got, b) || err != nil || urlSafe != strings.ContainsAny(text, "-_") {
				t.Errorf("%q: got %x, %t, %v", text, got, urlSafe, err)
			}
		}
	}
	for text, want := range map[string]string{
		"%%%":   "not base64 (character 1)",
		"AA A":  "not base64 (character 3)",
		"AAA\n": "not base64 (character 4)",
		"AAAA=": "not base64 (character 5)",
		"A":     "not base64 (character 1)", // as the decoder counts
		"AB==":  "not base64 (character 3)", // bits that nothing decodes to
		"-A+A":  "not base64 (character 3)", // both alphabets
		"AA==A": "not base64 (character 3)",
	} {
		if got, _, err := Decode(text); got != nil || err == nil || err.Error() != want {
			t.Errorf("%q: got %x, %v, want %s", text, got, err, want)
		}
	}
}

func TestCheckSecret(t *testing.T) {
	t.Parallel()
	fine := func(n int) []byte { return append([]byte{1}, make([]byte, n-1)...) }
	for _, n := range []int{32, 33, 1024} {
		if err := CheckSecret("x", fine(n)); err != nil {
			t.Error(err)
		}
	}
	for want, b := range map[string][]byte{
		"0 bytes; x needs at least 32. Make one: openssl rand -base64 32":  nil,
		"31 bytes; x needs at least 32. Make one: openssl rand -base64 32": fine(31),
		"1025 bytes; want at most 1024":                                    fine(1025),
		"every byte is the same. Make one: openssl rand -base64 32":        bytes.Repeat([]byte{7}, 32),
	} {
		if err := CheckSecret("x", b); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if !Repeated(nil) || !Repeated([]byte{1}) || Repeated([]byte{1, 1, 2}) {
		t.Error("Repeated")
	}
}

func TestQuoteID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"v1": `"v1"`, strings.Repeat("a", 42): `"` + strings.Repeat("a", 42) + `"`, strings.Repeat("a", 43): "(43 characters)",
	} {
		if got := QuoteID(id); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	if got := Doubts("v1", []byte("a\x00"), false); got != nil {
		t.Errorf("got %q", got)
	}
	if got := Doubts("v1", nil, true); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if got := Doubts("v1", []byte(" correct horse~"), true); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	for _, b := range []byte{0x1f, 0x7f, 0x80} {
		if got := Doubts("v1", []byte{'a', b}, false); got != nil {
			t.Errorf("%x: got %q", b, got)
		}
	}
}
