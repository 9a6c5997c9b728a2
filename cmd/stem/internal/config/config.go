package config

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// Config is every setting, checked. Make one with [Load].
type Config struct {
	Database   dsn.DSN // not given when no source names one; see RequireDatabase
	Listen     dsn.DSN // for LISTEN, when Database is a pooler; may be not given
	Insecure   bool    // STEM_TLS_ALLOW_INSECURE: certificates are verified, and what is wrong with them is only reported
	Keys       *signing.Ring
	Encryption *encryption.Ring

	Namespace          string
	Concurrency        int
	DefaultQueue       string
	DefaultMaxAttempts int
	MaxPayloadBytes    int
	ShutdownGrace      time.Duration
	Lease              time.Duration
	Heartbeat          time.Duration
	PollInterval       time.Duration
	WorkerQueues       arg.Slots // empty: the default queue
	UnsignedQueues     []string
	WorkerNode         string
	SchedulerNode      string
	Tolerance          time.Duration // how late a run of a schedule may be
	KeepRuns           time.Duration // of the ledger of schedules
	SchedulerPoll      time.Duration
	TasksFile          string
	LogLevel           string // debug, info, warn, error
	LogFormat          string // auto, text, json

	values      []Value
	credentials bool // $CREDENTIALS_DIRECTORY is set
}

// Value is a setting as "stem config show" prints it.
type Value struct {
	Key    string // as in stem.yaml
	Value  string // secrets redacted
	Origin string // "flag --x", "STEM_X", "stem.yaml:3:1", Default or Unset
	Env    string // the name of its variable
}

// Origins other than a flag, a variable or a file.
const (
	Default = "default"
	Unset   = "unset"
)

// Values lists every setting in a fixed order.
func (c *Config) Values() []Value { return c.values }

// Origin tells where the value of a key came from.
func (c *Config) Origin(key string) string {
	i := slices.IndexFunc(c.values, func(v Value) bool { return v.Key == key })
	return c.values[i].Origin
}

// RequireDatabase returns the database, or an error that says how to name one.
func (c *Config) RequireDatabase() (dsn.DSN, error) {
	if c.Database.Given() {
		return c.Database, nil
	}
	err := fault.Config("no_database", "no database: set STEM_DATABASE_URL, STEM_DATABASE_URL_FILE or --database-url file:PATH").
		About("STEM_DATABASE_URL")
	if c.credentials {
		return dsn.DSN{}, err.WithHint("$CREDENTIALS_DIRECTORY has no credential %q; "+
			"add LoadCredential=%[1]s:/etc/stem/%[1]s to the unit", databaseCredential)
	}
	return dsn.DSN{}, err
}

// check tests the rules between settings.
func (c *Config) check() error {
	if c.Lease <= 2*c.Heartbeat {
		return fault.Config("bad_setting", "lease (%s) must be more than twice heartbeat (%s)",
			arg.Text(c.Lease), arg.Text(c.Heartbeat)).About(c.Origin("lease"))
	}
	return nil
}

// What a scheduler can be told.
const (
	MinTolerance     = 100 * time.Millisecond
	MaxTolerance     = 24 * time.Hour
	MinKeepRuns      = time.Hour
	MaxKeepRuns      = 10 * arg.Year
	MinSchedulerPoll = 100 * time.Millisecond
	MaxSchedulerPoll = time.Hour
)

// setting is one key and how its text becomes a field.
type setting struct {
	key   string
	env   string
	alias string // another name of the variable
	value string // the default
	set   func(*Config, string) error
}

// settings is every key but the URLs of databases, which have rules of their own.
func settings() []setting {
	return []setting{
		{
			key: "namespace", env: "STEM_NAMESPACE", alias: "STEM_WORKER_NAMESPACE", value: "stem",
			set: name(func(c *Config) *string { return &c.Namespace }),
		},
		{
			key: "concurrency", env: "STEM_CONCURRENCY", value: strconv.Itoa(runtime.GOMAXPROCS(0) * 8),
			set: integer(1, arg.MaxSlots, func(c *Config) *int { return &c.Concurrency }),
		},
		{
			key: "default_queue", env: "STEM_DEFAULT_QUEUE", value: "default",
			set: name(func(c *Config) *string { return &c.DefaultQueue }),
		},
		{
			key: "default_max_attempts", env: "STEM_DEFAULT_MAX_ATTEMPTS", alias: retriesName, value: "20",
			set: integer(1, 1000, func(c *Config) *int { return &c.DefaultMaxAttempts }),
		},
		{
			key: "max_payload_bytes", env: "STEM_MAX_PAYLOAD_BYTES", value: "1048576",
			set: integer(1, queue.MaxPayload, func(c *Config) *int { return &c.MaxPayloadBytes }),
		},
		{
			key: "shutdown_grace", env: "STEM_SHUTDOWN_GRACE", value: "30s",
			set: duration(0, time.Hour, func(c *Config) *time.Duration { return &c.ShutdownGrace }),
		},
		{
			key: "lease", env: "STEM_LEASE", value: "30s",
			set: duration(time.Second, time.Hour, func(c *Config) *time.Duration { return &c.Lease }),
		},
		{
			key: "heartbeat", env: "STEM_HEARTBEAT_INTERVAL", value: "10s",
			set: duration(100*time.Millisecond, 10*time.Minute, func(c *Config) *time.Duration { return &c.Heartbeat }),
		},
		{
			key: "poll_interval", env: "STEM_POLL_INTERVAL", value: "1s",
			set: duration(10*time.Millisecond, 5*time.Minute, func(c *Config) *time.Duration { return &c.PollInterval }),
		},
		{
			key: "worker.queues", env: "STEM_WORKER_QUEUES",
			set: func(c *Config, s string) error { return c.WorkerQueues.Set(s) },
		},
		{
			key: "worker.unsigned_queues", env: "STEM_WORKER_UNSIGNED_QUEUES",
			set: func(c *Config, s string) (err error) { c.UnsignedQueues, err = arg.ParseNames(s); return err },
		},
		{key: "worker.node", env: "STEM_WORKER_NODE", value: hostNode(), set: node(func(c *Config) *string { return &c.WorkerNode })},
		{key: "scheduler.node", env: "STEM_SCHEDULER_NODE", value: hostNode(), set: node(func(c *Config) *string { return &c.SchedulerNode })},
		{
			key: "scheduler.tolerance", env: "STEM_SCHEDULER_TOLERANCE", value: "10s",
			set: duration(MinTolerance, MaxTolerance, func(c *Config) *time.Duration { return &c.Tolerance }),
		},
		{
			key: "scheduler.keep_runs", env: "STEM_SCHEDULER_KEEP_RUNS", value: "7d",
			set: duration(MinKeepRuns, MaxKeepRuns, func(c *Config) *time.Duration { return &c.KeepRuns }),
		},
		{
			key: "scheduler.poll_interval", env: "STEM_SCHEDULER_POLL_INTERVAL", value: "10s",
			set: duration(MinSchedulerPoll, MaxSchedulerPoll, func(c *Config) *time.Duration { return &c.SchedulerPoll }),
		},
		{
			key: "tasks_file", env: "STEM_TASKS_FILE", value: "/etc/stem/tasks.yaml",
			set: func(c *Config, s string) error { c.TasksFile = s; return nil },
		},
		{
			key: "log.level", env: "STEM_LOG_LEVEL", value: "info",
			set: choice(func(c *Config) *string { return &c.LogLevel }, LogLevels...),
		},
		{
			key: "log.format", env: "STEM_LOG_FORMAT", value: "auto",
			set: choice(func(c *Config) *string { return &c.LogFormat }, "auto", "text", "json"),
		},
	}
}

// LogLevels lists the values of --log-level.
var LogLevels = []string{"debug", "info", "warn", "error"}

func name(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		*field(c), err = arg.ParseName(s)
		return err
	}
}

func integer(low, high int, field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		*field(c), err = arg.ParseInt(s, low, high)
		return err
	}
}

func duration(low, high time.Duration, field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		*field(c), err = arg.ParseDuration(s, low, high)
		return err
	}
}

func choice(field func(*Config) *string, words ...string) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		*field(c), err = arg.ParseChoice(s, words)
		return err
	}
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func node(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) error {
		if !nodeName.MatchString(s) {
			return fmt.Errorf("node name %q: use letters, digits, . _ -", s)
		}
		*field(c) = s
		return nil
	}
}

// hostNode is the name of this machine when that can be the name of a node.
func hostNode() string {
	if host, err := os.Hostname(); err == nil && nodeName.MatchString(host) {
		return host
	}
	return "default"
}

// Keys lists the settings with their defaults, for "stem help environment".
func Keys() []Value {
	keys := []Value{{Key: "database_url", Env: "STEM_DATABASE_URL"}, {Key: "listen_url", Env: "STEM_LISTEN_URL"}}
	for _, s := range settings() {
		keys = append(keys, Value{Key: s.key, Env: s.env, Value: s.value, Origin: Default})
	}
	return keys
}
