// Package fault is how a command fails: an error that carries a word for programs, a sentence for people, what to do
// next, and the exit code. Every error that leaves a command becomes a [*Error], by hand or by [From].
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
)

// Error is a failure as the user meets it. The message stands on its own: it names the source and quotes the value,
// secrets excepted. An Error with an empty message exits with its code and prints nothing.
type Error struct {
	Code    string // a stable machine word, such as "unknown_flag"
	Message string // lower case, no trailing stop
	Source  string // where the mistake is: "flag --limit", "STEM_CONCURRENCY", "stem.yaml:4:3"
	Hint    string // what to do next; may be empty
	Excerpt string // lines of what was read, which show where in it the mistake is; for people only
	Exit    int    // one of the Exit constants
	Cause   error  // what lies underneath; never printed
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithHint sets what to do next and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// About names where the mistake is and returns e.
func (e *Error) About(source string) *Error {
	e.Source = source
	return e
}

// Showing sets the excerpt and returns e.
func (e *Error) Showing(excerpt string) *Error {
	e.Excerpt = excerpt
	return e
}

// Because records the cause and returns e.
func (e *Error) Because(err error) *Error {
	e.Cause = err
	return e
}

// Usage is a mistake on the command line (64).
func Usage(code, format string, args ...any) *Error {
	return New(ExitUsage, code, format, args...)
}

// NotFound says that what was named does not exist (1).
func NotFound(format string, args ...any) *Error {
	return New(ExitNotFound, "not_found", format, args...)
}

// Data is input that was read and is wrong (65).
func Data(format string, args ...any) *Error {
	return New(ExitData, "bad_data", format, args...)
}

// Config is a setting that is missing or wrong (78).
func Config(code, format string, args ...any) *Error {
	return New(ExitConfig, code, format, args...)
}

// New is an error with any exit code.
func New(exit int, code, format string, args ...any) *Error {
	return &Error{Exit: exit, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Quiet exits with a code and prints nothing: the output has said it all.
func Quiet(exit int) *Error { return &Error{Exit: exit} }

// Exit returns the code that err ends the process with: that of the first fault in a joined error, 70 for an error
// that is no fault, 0 for nil.
func Exit(err error) int {
	if err == nil {
		return ExitOK
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Exit
	}
	return ExitInternal
}

// Print writes err for people: a line per problem, then its excerpt and its hint. Control characters are escaped, because messages
// quote what others wrote.
func Print(w io.Writer, err error) {
	for _, f := range flatten(err) {
		if f.Message == "" {
			continue
		}
		fmt.Fprintf(w, "stem: %s\n", escape.Text(f.Message))
		for line := range strings.Lines(f.Excerpt) {
			fmt.Fprintf(w, "    %s\n", escape.Text(strings.TrimSuffix(line, "\n")))
		}
		if f.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", escape.Text(f.Hint))
		}
	}
}

// PrintJSON writes err for programs, as one line. Of several problems the first is the error, and all of them are
// listed under "problems".
func PrintJSON(w io.Writer, err error) {
	faults := flatten(err)
	if len(faults) == 0 || faults[0].Message == "" {
		return
	}
	body := object{Error: encode(faults[0])}
	if len(faults) > 1 {
		for _, f := range faults {
			body.Error.Problems = append(body.Error.Problems, encode(f))
		}
	}
	line, _ := json.Marshal(body) // strings only: cannot fail
	fmt.Fprintf(w, "%s\n", line)
}

type object struct {
	Error detail `json:"error"`
}

type detail struct {
	Code     string   `json:"code"`
	Message  string   `json:"message"`
	Source   string   `json:"source"`
	Hint     string   `json:"hint"`
	Problems []detail `json:"problems,omitempty"`
}

func encode(f *Error) detail {
	return detail{Code: f.Code, Message: f.Message, Source: f.Source, Hint: f.Hint}
}

// flatten lists the faults of a possibly joined error, in order.
func flatten(err error) []*Error {
	if f, ok := err.(*Error); ok { //nolint:errorlint // a fault hides what it wraps; only joins are taken apart
		return []*Error{f}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return []*Error{f}
	}
	return []*Error{New(ExitInternal, "internal", "%s", strings.TrimSpace(err.Error()))}
}

// PrintJSONWarning writes something that is no failure for programs, as one line.
func PrintJSONWarning(w io.Writer, f *Error) {
	line, _ := json.Marshal(map[string]detail{"warning": encode(f)}) // strings only: cannot fail
	fmt.Fprintf(w, "%s\n", line)
}
