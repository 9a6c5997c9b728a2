package tasksfile

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var (
	taskKeys    = []string{"command", "http", "dir", "env", "queue", "hard_limit", "kill_grace", "max_attempts"}
	commandKeys = []string{"dir", "env", "hard_limit", "kill_grace"} // of no use to an HTTP call
	httpKeys    = []string{"url", "method", "headers", "timeout"}
	methods     = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

	nameForm   = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)
	envForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

	ownEnv     = []string{"STEM_JOB_ID", "STEM_TASK", "STEM_QUEUE", "STEM_ATTEMPT", "TRACEPARENT"}
	ownHeaders = []string{"Traceparent", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Host"}
)

func (r *reading) file(body ast.Node) []*Task {
	var tasks []*Task
	transport := newTransport()
	for _, top := range r.entries(body, []string{"tasks"}, "") {
		if _, empty := top.value.(*ast.NullNode); empty {
			break
		}
		for _, e := range r.entries(top.value, nil, " in tasks") {
			if !nameForm.MatchString(e.key) {
				r.add(e.at, "task: names are 1-128 of letters, digits, _ . : / -; got %q", abbreviate(e.key))
			}
			if t := r.task(e); t != nil {
				if t.HTTP != nil {
					t.client = newClient(transport)
				}
				tasks = append(tasks, t)
			}
		}
	}
	if len(tasks) == 0 && len(r.problems) == 0 {
		r.add(nil, "no tasks")
	}
	return tasks
}

func (r *reading) task(of entry) *Task {
	within := " in task " + strconv.Quote(abbreviate(of.key))
	t := &Task{Name: of.key, KillGrace: defaultKillGrace, Dir: r.dir}
	given := map[string]entry{}
	before := len(r.problems)
	for _, e := range r.entries(of.value, taskKeys, within) {
		given[e.key] = e
	}
	command, isCommand := given["command"]
	call, isHTTP := given["http"]
	switch {
	case isCommand && isHTTP:
		r.add(call.at, "both command and http%s; want one", within)
	case !isCommand && !isHTTP && len(r.problems) == before:
		r.add(of.at, "neither command nor http%s; want one", within)
	case isHTTP:
		for _, key := range commandKeys {
			if e, ok := given[key]; ok {
				r.add(e.at, "%s%s is for commands; http has url, method, headers and timeout", key, within)
			}
		}
	}
	r.common(t, given)
	if isCommand {
		r.command(t, command)
	}
	if isHTTP {
		t.HTTP = r.http(call, within)
	}
	return t
}

func (r *reading) common(t *Task, given map[string]entry) {
	for _, key := range taskKeys {
		e, ok := given[key]
		if !ok {
			continue
		}
		switch key {
		case "dir":
			r.directory(t, e)
		case "env":
			r.env(t, e)
		case "queue":
			if text, ok := r.text(e); ok {
				if !nameForm.MatchString(text) {
					r.add(e.value.GetToken(), "queue: names are 1-128 of letters, digits, _ . : / -; got %q", abbreviate(text))
				}
				t.Queue = text
			}
		case "hard_limit":
			t.HardLimit = r.duration(e)
		case "kill_grace":
			t.KillGrace = r.duration(e)
		case "max_attempts":
			if text, ok := r.text(e); ok {
				n, err := strconv.Atoi(text)
				if err != nil || n < 1 || n > 1000 {
					r.add(e.value.GetToken(), "max_attempts: want 1 to 1000, got %q", abbreviate(text))
				}
				t.MaxAttempts = n
			}
		}
	}
}

func (r *reading) duration(e entry) time.Duration {
	text, ok := r.text(e)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		r.add(e.value.GetToken(), "%s: want a duration above 0, as 30s or 5m, got %q", e.key, abbreviate(text))
	}
	return d
}

func (r *reading) directory(t *Task, e entry) {
	text, ok := r.text(e)
	if !ok {
		return
	}
	t.Dir = r.path(text)
	switch info, err := os.Stat(t.Dir); {
	case err != nil:
		r.add(e.value.GetToken(), "dir: %s: %v", text, bare(err))
	case !info.IsDir():
		r.add(e.value.GetToken(), "dir: %s: not a directory", text)
	}
}

func (r *reading) env(t *Task, e entry) {
	for _, v := range r.entries(e.value, nil, " in env") {
		text, ok := r.text(v)
		switch {
		case !ok:
		case !envForm.MatchString(v.key):
			r.add(v.at, "env: names are letters, digits and _, not a digit first; got %q", abbreviate(v.key))
		case slices.Contains(ownEnv, v.key):
			r.add(v.at, "env: %s is set for each job", v.key)
		case strings.ContainsRune(text, 0):
			r.add(v.value.GetToken(), "env: %s: the value has a NUL", v.key)
		default:
			t.Env = append(t.Env, v.key+"="+text)
		}
	}
}

func (r *reading) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(r.dir, p)
}

func (r *reading) command(t *Task, e entry) {
	before := len(r.problems)
	list, isList := r.list(e)
	if !isList {
		text, ok := r.text(e)
		if !ok {
			return
		}
		var err error
		if list, err = words(text); err != nil {
			r.add(e.value.GetToken(), "command: %v", err)
			return
		}
	}
	if len(r.problems) > before {
		return
	}
	if len(list) == 0 || list[0] == "" {
		r.add(e.value.GetToken(), "command: empty")
		return
	}
	if slices.ContainsFunc(list, func(w string) bool { return strings.ContainsRune(w, 0) }) {
		r.add(e.value.GetToken(), "command: a NUL in it")
		return
	}
	t.Command = list
	if !strings.Contains(list[0], "/") {
		path, err := exec.LookPath(list[0])
		if err != nil {
			hint := ""
			if _, err := os.Stat(r.path(list[0])); err == nil {
				hint = ". Did you mean ./" + list[0] + "?"
			}
			r.add(e.value.GetToken(), "command: %s: not found in PATH%s", abbreviate(list[0]), hint)
			return
		}
		t.path = path
		return
	}
	t.path = r.path(list[0])
	info, err := os.Stat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(e.value.GetToken(), "command: %s: no such file", list[0])
	case err != nil:
		r.add(e.value.GetToken(), "command: %s: %v", list[0], bare(err))
	case info.IsDir():
		r.add(e.value.GetToken(), "command: %s: a directory", list[0])
	case info.Mode()&0o111 == 0:
		r.add(e.value.GetToken(), "command: %s: not executable (mode %04o)", list[0], info.Mode().Perm())
	}
}

func (r *reading) http(of entry, within string) *HTTP {
	h := &HTTP{Method: http.MethodPost, Timeout: defaultTimeout, Headers: map[string]string{}}
	before := len(r.problems)
	for _, e := range r.entries(of.value, httpKeys, " in http"+within) {
		switch e.key {
		case "url":
			if text, ok := r.text(e); ok {
				h.URL = text
				u, err := url.Parse(text)
				if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
					r.add(e.value.GetToken(), "url: want http://host/path or https://host/path")
				}
			}
		case "method":
			if text, ok := r.text(e); ok {
				if h.Method = text; !slices.Contains(methods, text) {
					r.add(e.value.GetToken(), "method: want %s, got %q", strings.Join(methods, ", "), abbreviate(text))
				}
			}
		case "headers":
			r.headers(h, e)
		case "timeout":
			h.Timeout = r.duration(e)
		}
	}
	if h.URL == "" && len(r.problems) == before {
		r.add(of.at, "http%s: no url", within)
	}
	return h
}

func (r *reading) headers(h *HTTP, of entry) {
	for _, e := range r.entries(of.value, nil, " in headers") {
		text, ok := r.text(e)
		name := http.CanonicalHeaderKey(e.key)
		switch _, twice := h.Headers[name]; {
		case !ok:
		case !headerForm.MatchString(e.key):
			r.add(e.at, "headers: %q is no name of a header", abbreviate(e.key))
		case slices.Contains(ownHeaders, name) || strings.HasPrefix(name, "Stem-"):
			r.add(e.at, "headers: %s is set for each job", name)
		case twice:
			r.add(e.at, "headers: %s is defined twice", name)
		case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			r.add(e.value.GetToken(), "headers: %s: the value has control characters", name)
		default:
			h.Headers[name] = text
		}
	}
}
