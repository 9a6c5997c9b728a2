package tasksfile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stemqueue/stem/queue"
)

const (
	maxRedirects = 5
	// maxDrained bounds what is read of an error's body: one that was read to its end leaves the connection for the
	// next call, one that is larger is not worth it.
	maxDrained = 256 << 10
)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    64, // jobs of one task go to one host; the default of 2 would open a connection for most
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func newClient(transport *http.Transport) *http.Client {
	return &http.Client{
		Transport: transport,
		// A payload does not go to a host that the file does not name. A redirect that turns POST into GET would end in
		// a 200 without the payload having gone anywhere.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			first := via[0]
			if len(via) > maxRedirects || req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

var errTimeout = errors.New("timeout")

func (t *Task) call(ctx context.Context, run *queue.Run) Report {
	ctx, cancel := context.WithTimeoutCause(ctx, t.HTTP.Timeout, errTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, t.HTTP.Method, t.HTTP.URL, bytes.NewReader(run.Payload))
	if err != nil {
		return Report{Outcome: Failed, Err: err}
	}
	for name, value := range t.HTTP.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", cmp.Or(run.Codec, "application/json"))
	req.Header.Set("Stem-Job-Id", run.ID.String())
	req.Header.Set("Stem-Task", run.Task)
	req.Header.Set("Stem-Queue", run.Queue)
	req.Header.Set("Stem-Attempt", strconv.Itoa(run.Attempt))
	if tp := traceparent(run); tp != "" {
		req.Header.Set("Traceparent", tp)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return t.unanswered(ctx, req, err)
	}
	defer resp.Body.Close()
	body, from := &head{limit: maxErrorBytes}, io.LimitReader(resp.Body, maxDrained)
	if resp.StatusCode/100 == 2 {
		body.limit, from = queue.MaxResultBytes, resp.Body
	}
	if _, err := io.Copy(body, from); err != nil && resp.StatusCode/100 == 2 {
		return t.unanswered(ctx, req, err)
	}
	return answered(resp, body, run)
}

// unanswered is a failed attempt. The error says where to, without what may be secret in an URL.
func (t *Task) unanswered(ctx context.Context, req *http.Request, err error) Report {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, errTimeout) {
		err = fmt.Errorf("no whole answer within %v", t.HTTP.Timeout)
	}
	return Report{Outcome: Failed, Err: fmt.Errorf("%s %s://%s%s: %w", req.Method, req.URL.Scheme, req.URL.Host, req.URL.Path, err)}
}

func answered(resp *http.Response, body *head, run *queue.Run) Report {
	text := strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))
	if where := resp.Header.Get("Location"); where != "" && resp.StatusCode/100 == 3 {
		text += ": the redirect was not followed, it leads to another host or changes the method"
	}
	said := body.bytes
	if body.total > maxErrorBytes {
		said = wholeRunes(said)
	}
	if s := clean(strings.TrimSpace(string(said))); s != "" && resp.StatusCode/100 != 2 {
		text += ": " + s
	}
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return Report{Outcome: Completed, Result: result(body.bytes, body.total)}
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		return Report{Outcome: PutBack, Delay: retryAfter(resp, run.Releases), Err: errors.New(text)}
	case code == http.StatusBadRequest, code == http.StatusUnprocessableEntity:
		return Report{Outcome: Dead, Err: errors.New(text)}
	default:
		return Report{Outcome: Failed, Err: errors.New(text)}
	}
}

// wholeRunes takes half a character off the end.
func wholeRunes(b []byte) []byte {
	for i := 1; i < 4 && i <= len(b); i++ {
		switch c := b[len(b)-i]; {
		case c < 0x80:
			return b
		case c >= 0xc0:
			return b[:len(b)-i]
		}
	}
	return b
}

// retryAfter is what the server asked for, from a second (or it would be asked in a loop) to a day; else the backoff.
func retryAfter(resp *http.Response, releases int) time.Duration {
	asked := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(asked, 10, 63); err == nil {
		return max(time.Second, time.Duration(min(seconds, uint64(mostAsked/time.Second)))*time.Second)
	}
	if at, err := http.ParseTime(asked); err == nil {
		now := time.Now()
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			now = date // both by the server's clock
		}
		return min(max(time.Second, at.Sub(now)), mostAsked)
	}
	return backoff(releases)
}
