// Package fingerprint tells which failures are alike.
//
// The rule: the error text is lowered to its form — hexadecimal numbers of eight or more digits, UUIDs, 0x addresses and
// decimal digits become "#", what stands in single, double or back quotes becomes "“”", addresses of the form
// name@host, host:port and dotted quads become "@", runs of blanks become one blank — and only its first line and at most
// 512 bytes of it count. The fingerprint is the SHA-256 of the task, a line feed, and that form, in hexadecimal.
package fingerprint

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

var masks = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile("\"[^\"]*\"|'[^']*'|`[^`]*`"), "“”"},
	{regexp.MustCompile(`[^\s@]+@[^\s@]+`), "@"},
	{regexp.MustCompile(`[A-Za-z0-9.-]+:\d{2,5}\b|\b\d{1,3}(\.\d{1,3}){3}\b`), "@"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|0x[0-9a-f]+|\b[0-9a-f]{8,}\b`), "#"},
	{regexp.MustCompile(`\d+`), "#"},
	{regexp.MustCompile(`\s+`), " "},
}

// Form returns the error text with everything masked that differs between two failures of one cause.
func Form(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 512 {
		text = strings.ToValidUTF8(text[:512], "")
	}
	for _, m := range masks {
		text = m.form.ReplaceAllString(text, m.with)
	}
	return strings.TrimSpace(text)
}

// Of returns the fingerprint of a task's failure, 64 hexadecimal digits.
func Of(task, text string) string {
	sum := sha256.Sum256([]byte(task + "\n" + Form(text)))
	return hex.EncodeToString(sum[:])
}
