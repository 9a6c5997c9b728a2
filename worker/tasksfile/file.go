package tasksfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/stemqueue/stem/internal/yamltree"
)

const (
	defaultKillGrace = 5 * time.Second
	defaultTimeout   = 30 * time.Second
)

// A File is a tasks file that was read and checked.
type File struct {
	Name  string
	Tasks []*Task // in the order of the file
}

// A Task says how the jobs of one name are run: by Command or by HTTP. It is only read, and safe for concurrent use.
type Task struct {
	Name        string
	Queue       string        // empty when the file names none
	MaxAttempts int           // zero when the file says nothing
	HardLimit   time.Duration // zero means none
	KillGrace   time.Duration // from SIGTERM to SIGKILL
	Command     []string      // nil for an HTTP call
	Dir         string        // where the command runs
	Env         []string      // NAME=value, added for the command
	HTTP        *HTTP         // nil for a command

	path   string // the command's file
	client *http.Client
}

// HTTP is the call that an HTTP task makes.
type HTTP struct {
	URL     string
	Method  string
	Headers map[string]string
	Timeout time.Duration // of the whole call, with the reading of the answer
}

// A Problem is one thing that is wrong with a file.
type Problem struct {
	Where string // file:line:column, or the file
	Line  int    // zero when it is about the whole file
	Text  string
	col   int
}

func (p Problem) String() string { return p.Where + ": " + p.Text }

// An Error has everything that is wrong with a file, in the order of its lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads and checks the tasks file. What is wrong with its text is an *Error.
func Load(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tasks file %s: %w", path, bare(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, yamltree.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("tasks file %s: %w", path, bare(err))
	}
	return Parse(path, data)
}

// bare takes the operation and the path out of an error of package os.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
