// Package tasksfile runs jobs as commands or HTTP calls, so that tasks can be written in any language.
//
// A tasks file is YAML or JSON:
//
//	tasks:
//	  hello:
//	    command: ["./hello.sh"]   # or one string, split into words as a shell does, without expansion
//	    dir: /srv/app             # the file's directory without it
//	    env: {A: b}               # added to the worker's environment
//	    queue: default            # for listings
//	    hard_limit: 30s           # SIGTERM then; none without it
//	    kill_grace: 5s            # from SIGTERM to SIGKILL
//	    max_attempts: 5           # for listings
//	  notify:
//	    http: {url: "https://example.com/hook", method: POST, headers: {X-A: b}, timeout: 10s}
//
// Relative paths are relative to the file. A command without a slash is looked up in PATH when the file is loaded.
//
// A command gets the payload on stdin, and STEM_JOB_ID, STEM_TASK, STEM_QUEUE, STEM_ATTEMPT and, for a traced job, TRACEPARENT
// in its environment; what carries Stem's own secrets is taken out of it. An HTTP call gets the payload as its body and
// the same as headers: Stem-Job-Id, Stem-Task, Stem-Queue, Stem-Attempt, Traceparent.
//
//	exit status  HTTP status  outcome
//	0            2xx          Completed: stdout, or the body, is the result
//	75           429, 503     PutBack: not charged; after Retry-After, else after 2 s that double, 5 min at most
//	65           400, 422     Dead
//	else         else         Failed: the end of stderr, or the beginning of the body, is the error
//
// Output that is JSON is the result as it is; other text becomes a JSON string without the line breaks at its end. A
// result above queue.MaxResultBytes is replaced by {"truncated":true,"bytes":n}.
//
// A command runs in a process group of its own. Whatever is left of the group when the command has ended is killed.
// Once it was sent SIGTERM, exit status 0 does not complete the job: nobody could tell whether the work was done.
package tasksfile
