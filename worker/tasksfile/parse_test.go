package tasksfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shop is a directory with a script, one that is not executable, and the tasks file.
func shop(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"ok.sh": 0o755, "plain.sh": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "tasks.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	const yaml = `# ours
tasks:
  hello:
    command: ["./ok.sh", "a b", 3]
    dir: /
    env: {A: b, N: 1}
    queue: default
    hard_limit: 30s
    kill_grace: 1s
    max_attempts: 5
  words: {command: "./ok.sh 'a b' c"}
  notify:
    http: {url: "http://127.0.0.1:8080/hook", method: PUT, headers: {x-a: b}, timeout: 10s}
  least:
    http:
      url: https://example.com
`
	const json = "{\n\t\"tasks\": {\n\t\t" + `"hello": {"command": ["./ok.sh", "a b", "3"], "dir": "/", "env": {"A": "b", "N": "1"}, "queue": "default",
		"hard_limit": "30s", "kill_grace": "1s", "max_attempts": 5},
		"words": {"command": "./ok.sh 'a b' c"},
		"notify": {"http": {"url": "http:\/\/127.0.0.1:8080\/hook", "method": "PUT", "headers": {"x-a": "b"}, "timeout": "10s"}},
		"least": {"http": {"url": "https://example.com"}}
	}
}
`
	for name, text := range map[string]string{"YAML": yaml, "JSON": json, "CRLF": strings.ReplaceAll(yaml, "\n", "\r\n")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := shop(t, text)
			f, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Dir(path)
			want := []*Task{
				{
					Name: "hello", Queue: "default", MaxAttempts: 5, HardLimit: 30 * time.Second, KillGrace: time.Second,
					Command: []string{"./ok.sh", "a b", "3"}, Dir: "/", Env: []string{"A=b", "N=1"},
				},
				{Name: "words", KillGrace: 5 * time.Second, Command: []string{"./ok.sh", "a b", "c"}, Dir: dir},
				{Name: "notify", KillGrace: 5 * time.Second, Dir: dir, HTTP: &HTTP{
					URL: "http://127.0.0.1:8080/hook", Method: "PUT", Headers: map[string]string{"X-A": "b"}, Timeout: 10 * time.Second,
				}},
				{Name: "least", KillGrace: 5 * time.Second, Dir: dir, HTTP: &HTTP{
					URL: "https://example.com", Method: "POST", Headers: map[string]string{}, Timeout: 30 * time.Second,
				}},
			}
			if diff := cmp.Diff(want, f.Tasks, cmpopts.IgnoreUnexported(Task{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got, want := f.Tasks[0].path, filepath.Join(dir, "ok.sh"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		text string
		want string // without the name of the file
	}{
		{"empty", "", "no tasks"},
		{"comment", "# nothing\n", "no tasks"},
		{"null", "tasks:\n", "no tasks"},
		{"top", "task: {}\n", `1:1: unknown key "task". Did you mean tasks?`},
		{"list", "- a\n", "1:1: want key: value"},
		{"scalar task", "tasks:\n  a: ./ok.sh\n", `2:6: want key: value in task "a"`},
		{"typo", "tasks:\n  hello:\n    comand: ./ok.sh\n", `3:5: unknown key "comand" in task "hello". Did you mean command?`},
		{"both", "tasks:\n  a:\n    command: ./ok.sh\n    http: {url: http://h}\n", `4:5: both command and http in task "a"; want one`},
		{"none", "tasks:\n  a:\n    queue: q\n", `2:3: neither command nor http in task "a"; want one`},
		{"twice", "tasks:\n  a: {command: ./ok.sh}\n  a: {command: ./ok.sh}\n", `3:3: "a" in tasks is defined twice, first in line 2`},
		{"name", "tasks: {a b: {command: ./ok.sh}}", `1:9: task: names are 1-128 of letters, digits, _ . : / -; got "a b"`},
		{"no file", "tasks:\n  a:\n    command: /x/y\n", "3:14: command: /x/y: no such file"},
		{"mode", "tasks:\n  a:\n    command: [./plain.sh]\n", "3:14: command: ./plain.sh: not executable (mode 0644)"},
		{"directory", "tasks: {a: {command: /}}", "1:22: command: /: a directory"},
		{"PATH", "tasks: {a: {command: ok.sh}}", "1:22: command: ok.sh: not found in PATH. Did you mean ./ok.sh?"},
		{"no words", "tasks: {a: {command: ' '}}", "1:22: command: empty"},
		{"no command", "tasks:\n  a:\n    command:\n", "3:5: command: no value"},
		{"pipe", "tasks: {a: {command: './ok.sh | cat'}}", `1:22: command: | would need a shell: quote it, or write command: ["sh", "-c", "..."]`},
		{"env", "tasks: {a: {command: ./ok.sh, env: {1A: b, STEM_TASK: c}}}", "1:37: env: names are letters, digits and _, not a digit first; got \"1A\"\n1:44: env: STEM_TASK is set for each job"},
		{"dir", "tasks: {a: {command: ./ok.sh, dir: nope}}", "1:36: dir: nope: no such file or directory"},
		{"dir is a file", "tasks: {a: {command: ./ok.sh, dir: ok.sh}}", "1:36: dir: ok.sh: not a directory"},
		{"url", "tasks: {a: {http: {url: ftp://x}}}", "1:25: url: want http://host/path or https://host/path"},
		{"no url", "tasks: {a: {http: {method: POST}}}", `1:13: http in task "a": no url`},
		{"method", "tasks: {a: {http: {url: http://h, method: GET}}}", `1:43: method: want POST, PUT, PATCH, DELETE, got "GET"`},
		{"http key", "tasks: {a: {http: {url: http://h, timout: 1s}}}", `1:35: unknown key "timout" in http in task "a". Did you mean timeout?`},
		{"headers", "tasks: {a: {http: {url: http://h, headers: {Stem-Task: x}}}}", "1:45: headers: Stem-Task is set for each job"},
		{"for commands", "tasks: {a: {http: {url: http://h}, hard_limit: 1s}}", `1:36: hard_limit in task "a" is for commands; http has url, method, headers and timeout`},
		{"anchor", "tasks: &a\n  x: *a\n", "1:8: anchors, aliases and merge keys are not supported; write the value out\n2:6: a text that begins with * must be quoted, and aliases are not supported"},
		{"tag", "tasks: !!map {}\n", "1:8: tags and directives are not supported"},
		{"documents", "tasks: {}\n---\ntasks: {}\n", "3:1: a second document; want one"},
		{"deep", strings.Repeat("[", 1<<19), "1:21: nested too deep"},
		{"deep lists", strings.Repeat("- ", 1<<10), "1:41: nested too deep"},
		{"UTF-8", "tasks:\n  ä\xff", "2:4: not UTF-8"},
		{"large", strings.Repeat("#", 1<<20+1), "larger than 1 MiB"},
		{
			"all at once", "tasks:\n  a:\n    comand: x\n    hard_limit: 30\n    kill_grace: -1s\n    max_attempts: 0\n    queue: a b\n  b: {}\n",
			`3:5: unknown key "comand" in task "a". Did you mean command?
4:17: hard_limit: want a duration above 0, as 30s or 5m, got "30"
5:17: kill_grace: want a duration above 0, as 30s or 5m, got "-1s"
6:19: max_attempts: want 1 to 1000, got "0"
7:12: queue: names are 1-128 of letters, digits, _ . : / -; got "a b"
8:3: neither command nor http in task "b"; want one`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := shop(t, tt.text)
			_, err := Load(path)
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("got %v, want an *Error", err)
			}
			got := strings.ReplaceAll(strings.ReplaceAll(err.Error(), path+": ", ""), path+":", "")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadOfNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.yaml")
	if _, err := Load(path); errorText(err) != "tasks file "+path+": no such file or directory" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Whatever is in a file, it is either refused with a place or every task in it can be run.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "tasks:\n  a:\n    command: [sh]\n", "tasks: {a: {http: {url: 'http://h', headers: {A: b}}}}", "? a\n: b", "- - a", "a: &x\nb: *x",
		"tasks:\n  a: |\n    b\n", `{"tasks": {"a": {"command": "sh -c 'x'", "env": {"A": "\u00e4"}}}}`, "\t", "a: [", "a: \"", "---\n---\n", "%TAG\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("tasks.yaml", data)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || len(e.Problems) == 0 {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, task := range file.Tasks {
			if (task.HTTP == nil) == (task.Command == nil) || task.Command != nil && task.path == "" {
				t.Fatalf("got %+v", task)
			}
		}
	})
}
