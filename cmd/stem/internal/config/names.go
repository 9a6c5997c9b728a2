package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

// secretNames are variables whose value may stand in a file named by NAME_FILE.
var secretNames = append([]string{
	"STEM_DATABASE_URL", "STEM_LISTEN_URL",
	"STEM_SIGNING_KEYS", "STEM_SIGNING_PUBLIC_KEYS", "STEM_SIGNING_PRIVATE_KEYS", "STEM_ENCRYPTION_KEYS",
}, aliasNames...)

// laterNames are known, and read elsewhere than in settings: by signing, encryption, TLS, telemetry, the services and their
// templates, the commands that Stem starts, and the tests.
var laterNames = []string{
	"STEM_STRICT_ENV", "STEM_ENV",
	"STEM_SIGNING_ALGORITHM", "STEM_SIGNING_ACTIVE_KEY", "STEM_SIGNING_POLICY", "STEM_SIGNING_AUDIENCE",
	"STEM_SIGNING_KEYS", "STEM_SIGNING_PUBLIC_KEYS", "STEM_SIGNING_PRIVATE_KEYS", "STEM_ENCRYPTION_KEYS",
	"STEM_TLS_CA_CERT", "STEM_TLS_CLIENT_CERT", "STEM_TLS_CLIENT_KEY", "STEM_TLS_ALLOW_INSECURE",
	"STEM_TLS_I_UNDERSTAND", "STEM_TLS_NEGOTIATION",
	"STEM_ROUTING_CONFIG", "STEM_SCHEDULE_FILE", "STEM_WORKER_BROADCASTS",
	"STEM_METRIC_EXPORTERS", "STEM_OTLP_ENDPOINT", "STEM_OTLP_HEADERS", "STEM_OTLP_METRICS_INTERVAL",
	"STEM_TRACE_PARENT", "STEM_TRACE_EXPORTER", "STEM_HTTP_ADDR", "STEM_SIGNALS_ENABLED", "STEM_SIGNALS_DISABLED",
	"STEM_WORKER_COMMAND", "STEM_WORKER_NODES", "STEM_WORKER_INDEX", "STEM_WORKER_PIDFILE", "STEM_WORKER_LOGFILE",
	"STEM_WORKER_HOST", "STEM_WORKER_PIDFILE_TEMPLATE", "STEM_WORKER_LOGFILE_TEMPLATE", "STEM_WORKER_WORKDIR",
	"STEM_WORKER_MULTI_OPTS", "STEM_CLI_COMMAND", "STEMD_COMMAND", "STEMD_NODES", "STEMD_OPTS",
	"STEM_BIN", "STEM_USER", "STEM_GROUP", "STEM_ENV_FILE", "STEM_PID_DIR", "STEM_LOG_DIR", "STEM_WORK_DIR",
	"STEM_SCHEDULER_COMMAND", "STEM_SCHEDULER_OPTS", "STEM_SCHEDULER_PID_FILE", "STEM_SCHEDULER_LOG_FILE",
	"STEM_DASHBOARD_NAMESPACE", "STEM_DASHBOARD_ALERT_WEBHOOK_URLS", "STEM_DASHBOARD_WEBHOOK_URLS",
	"STEM_DASHBOARD_ALERT_BACKLOG_THRESHOLD", "STEM_DASHBOARD_ALERT_FAILED_TASK_THRESHOLD",
	"STEM_DASHBOARD_ALERT_OFFLINE_WORKER_THRESHOLD", "STEM_DASHBOARD_ALERT_COOLDOWN",
	"STEM_JOB_ID", "STEM_TASK", "STEM_QUEUE", "STEM_ATTEMPT",
	"STEM_PG_BIN", "STEM_PG_FETCH", "STEM_TEST_DATABASE_URL", "STEM_TEST_POSTGRES_URL", "STEM_TEST_REQUIRE_DB",
}

// retiredNames meant something to the Dart system and mean nothing here.
var retiredNames = map[string]string{
	"STEM_PREFETCH_MULTIPLIER": "a worker claims as many jobs as it has free slots; use STEM_CONCURRENCY",
	"STEM_CONTROL_NAMESPACE":   "use STEM_NAMESPACE",
	"STEM_RATE_LIMIT_URL":      "limits are kept in the database",
	"STEM_WORKFLOW_STORE_URL":  "there are no workflows",
	"STEM_WORKFLOW_NAMESPACE":  "there are no workflows",
}

// Environment lists every variable that has a meaning, sorted.
func Environment() []string {
	names := slices.Concat(secretNames, laterNames)
	for _, s := range settings() {
		names = append(names, s.env)
		if s.alias != "" {
			names = append(names, s.alias)
		}
	}
	for _, n := range secretNames {
		names = append(names, n+"_FILE")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unknownNames finds the variables that look like ours and are not. A misspelt one about signing, encryption or TLS would switch a
// protection off, so it is always a mistake.
func (l *loader) unknownNames() {
	strict, known := l.truth("STEM_STRICT_ENV"), Environment()
	for _, n := range slices.Sorted(maps.Keys(l.env)) {
		if !strings.HasPrefix(n, "STEM_") && !strings.HasPrefix(n, "STEMD_") {
			continue
		}
		if _, found := slices.BinarySearch(known, n); found || strings.HasPrefix(n, "STEM_SIGNING_") || strings.HasPrefix(n, "STEM_ENCRYPTION_") {
			continue // the rings report those of theirs
		}
		text := "unknown variable " + n
		if why, retired := retiredNames[n]; retired {
			text = n + " has no effect: " + why
		} else if near, ok := nearest.Name(n, slices.Values(known)); ok {
			text += ". Did you mean " + near + "?"
		}
		if strict || strings.HasPrefix(n, "STEM_TLS_") {
			l.add(fault.Config("unknown_variable", "%s", text).About(n))
			continue
		}
		l.warn(n, "%s", text)
	}
}

// truth reads a variable that is true or false; anything else is a mistake.
func (l *loader) truth(name string) bool {
	value, set := l.env[name]
	if !set || value == "" {
		return false
	}
	if !slices.Contains([]string{"true", "false", "1", "0"}, value) {
		l.add(fault.Config("bad_setting", "%s: want true or false, got %q", name, value).About(name))
		return false
	}
	b, _ := strconv.ParseBool(value) // one of the four
	return b
}

// later lists the other variables that are set, so that "stem config show" leaves none out.
func (l *loader) later() []Value {
	var values []Value
	for _, n := range laterNames {
		text := l.env[n]
		if text == "" {
			continue
		}
		if slices.Contains(secretNames, n) || strings.Contains(n, "HEADERS") || strings.HasSuffix(n, "_URLS") {
			text = "***"
		} else if strings.Contains(text, "://") {
			text = redactURL(text)
		}
		_, key, _ := strings.Cut(strings.ToLower(n), "_")
		values = append(values, Value{Key: key, Value: text, Origin: n, Env: n})
	}
	return values
}

// redactURL shows a URL that may hold a secret, or nothing of one that cannot be taken apart safely.
func redactURL(text string) string {
	d, err := dsn.Parse(text)
	switch {
	case err == nil:
		return d.String()
	case strings.ContainsAny(text, "@?"):
		return "***"
	}
	return text
}
