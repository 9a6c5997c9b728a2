package tasksfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/queue"
)

func hook(t *testing.T, url, more string) *Task {
	t.Helper()
	f, err := Parse("tasks.yaml", fmt.Appendf(nil, "tasks:\n  t:\n    http:\n      url: %s\n%s", url, more))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tasks[0]
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestCallOutcomes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status  int
		headers map[string]string
		body    string
		outcome Outcome
		result  string
		err     string
		delay   time.Duration // exact; 0: the backoff
	}{
		{status: 200, body: `{"a":1}`, outcome: Completed, result: `{"a":1}`},
		{status: 204, outcome: Completed},
		{status: 202, body: "ok\n", outcome: Completed, result: `"ok"`},
		{status: 200, body: strings.Repeat("1", queue.MaxResultBytes+1), outcome: Completed, result: `{"truncated":true,"bytes":1048577}`},
		{status: 429, outcome: PutBack, err: "429 Too Many Requests"},
		{status: 503, body: "down", outcome: PutBack, err: "503 Service Unavailable: down"},
		{status: 503, headers: map[string]string{"Retry-After": "120"}, outcome: PutBack, err: "503 Service Unavailable", delay: 2 * time.Minute},
		{status: 503, headers: map[string]string{"Retry-After": "0"}, outcome: PutBack, err: "503 Service Unavailable", delay: time.Second},
		{status: 503, headers: map[string]string{"Retry-After": "9999999999999"}, outcome: PutBack, err: "503 Service Unavailable", delay: 24 * time.Hour},
		{status: 429, headers: map[string]string{"Retry-After": "soon"}, outcome: PutBack, err: "429 Too Many Requests"},
		{
			status: 429, outcome: PutBack, err: "429 Too Many Requests", delay: 90 * time.Second,
			headers: map[string]string{"Date": "Mon, 02 Jan 2023 15:04:05 GMT", "Retry-After": "Mon, 02 Jan 2023 15:05:35 GMT"},
		},
		{status: 429, headers: map[string]string{"Retry-After": "Mon, 02 Jan 2023 15:05:35 GMT"}, outcome: PutBack, err: "429 Too Many Requests", delay: time.Second},
		{status: 400, body: "bad \x00\xff", outcome: Dead, err: "400 Bad Request: bad \uFFFD\uFFFD"},
		{status: 422, outcome: Dead, err: "422 Unprocessable Entity"},
		{status: 404, body: "none", outcome: Failed, err: "404 Not Found: none"},
		{status: 500, body: strings.Repeat("x", 1<<20), outcome: Failed, err: "500 Internal Server Error: " + strings.Repeat("x", 4096)},
		{status: 500, body: strings.Repeat("x", 4095) + "äö", outcome: Failed, err: "500 Internal Server Error: " + strings.Repeat("x", 4095)},
		{status: 599, outcome: Failed, err: "599"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.headers), func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.headers {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			r := hook(t, s.URL, "").Run(t.Context(), newRun("{}"))
			if r.Outcome != tt.outcome || string(r.Result) != tt.result || errorText(r.Err) != tt.err {
				t.Errorf("got %d, %q, %.99q, want %d, %q, %.99q", r.Outcome, r.Result, errorText(r.Err), tt.outcome, tt.result, tt.err)
			}
			switch {
			case tt.delay > 0 && r.Delay != tt.delay:
				t.Errorf("got delay %v, want %v", r.Delay, tt.delay)
			case tt.outcome == PutBack && tt.delay == 0 && (r.Delay < time.Second || r.Delay > 2*time.Second):
				t.Errorf("got delay %v, want the backoff", r.Delay)
			}
		})
	}
}

func TestCallCarriesTheJob(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got["request"] = r.Method + " " + r.URL.Path + " " + string(body)
		for _, name := range []string{"Content-Type", "Stem-Job-Id", "Stem-Task", "Stem-Queue", "Stem-Attempt", "Traceparent", "X-A"} {
			got[name] = r.Header.Get(name)
		}
	})
	run := newRun(`{"n":1}`)
	run.Codec = "application/cbor"
	if r := hook(t, s.URL+"/x", "      method: PUT\n      headers: {X-A: b}\n").Run(t.Context(), run); r.Outcome != Completed {
		t.Fatal(r.Err)
	}
	want := map[string]string{
		"request": `PUT /x {"n":1}`, "Content-Type": "application/cbor", "Stem-Job-Id": jobID.String(), "Stem-Task": "t", "Stem-Queue": "q",
		"Stem-Attempt": "3", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-A": "b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCallTimesOut(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the answer", "in the body"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if when == "in the body" {
					_, _ = io.WriteString(w, "begun")
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			})
			r := hook(t, s.URL+"/x?token=hush", "      timeout: 100ms\n").Run(t.Context(), newRun("{}"))
			if want := "POST " + s.URL + "/x: no whole answer within 100ms"; r.Outcome != Failed || errorText(r.Err) != want {
				t.Errorf("got %d, %v, want %q", r.Outcome, r.Err, want)
			}
		})
	}
}

func TestCallIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("lease lost")
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(cause)
		<-r.Context().Done()
	})
	r := hook(t, s.URL, "").Run(ctx, newRun("{}"))
	if r.Outcome != Failed || !errors.Is(r.Err, cause) {
		t.Errorf("got %d, %v", r.Outcome, r.Err)
	}
}

func TestCallToNobody(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	r := hook(t, strings.Replace(s.URL, "://", "://user:hush@", 1)+"/x?token=hush", "").Run(t.Context(), newRun("{}"))
	if r.Outcome != Failed || !strings.Contains(errorText(r.Err), "connection refused") || strings.Contains(errorText(r.Err), "hush") {
		t.Errorf("got %d, %v", r.Outcome, r.Err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/same":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/get":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		default:
			_, _ = io.WriteString(w, r.Method+string(body)) //nolint:gosec // no browser reads it
		}
	})
	for path, want := range map[string]string{"/same": `"POST{}"`, "/other": "", "/get": "", "/loop": ""} {
		r := hook(t, s.URL+path, "").Run(t.Context(), newRun("{}"))
		if string(r.Result) != want || (r.Outcome == Completed) != (want != "") {
			t.Errorf("%s: got %d, %q, %v", path, r.Outcome, r.Result, r.Err)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("the payload went to another host")
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	task := hook(t, s.URL, "")
	for range 10 {
		task.Run(t.Context(), newRun("{}"))
	}
	// net/http gives up a connection whose answer came 50 ms before its writer said that it had written: on a busy machine.
	if got := opened.Load(); got > 5 {
		t.Errorf("got %d connections for 10 calls, want 1", got)
	}
}
