package config

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
)

const retriesName = "STEM_DEFAULT_MAX_RETRIES"

// Sources is where settings come from.
type Sources struct {
	Flags     *pflag.FlagSet // those bound by BindFlag are settings; nil is none
	Environ   []string       // as os.Environ
	Dir       string         // where stem.yaml is looked for first
	File      string         // the file of --config; "" looks in the usual places
	Database  string         // the value of --database-url; "" when not given
	SystemDir string         // "" is /etc/stem
}

const annotation = "stem/setting"

// BindFlag makes a flag the first source of a setting.
func BindFlag(f *pflag.Flag, key string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[annotation] = []string{key}
}

// Load reads and checks every setting. It reports all mistakes at once, joined. Warnings are for the user to see
// whether or not there are mistakes.
func Load(src Sources) (*Config, []*fault.Error, error) {
	l := newLoader(src)
	l.unknownNames()
	l.file()
	l.environment()
	l.flags()
	cfg := &Config{credentials: l.env[secretfile.CredentialsDirectory] != ""}
	l.urls(cfg)
	l.keys(cfg)
	l.fill(cfg)
	if len(l.problems) == 0 {
		l.add(cfg.check())
	}
	if len(l.problems) > 0 {
		return nil, l.warnings, errors.Join(l.problems...)
	}
	return cfg, l.warnings, nil
}

// loader lays one source over the other and remembers which one won.
type loader struct {
	src      Sources
	env      map[string]string
	merged   *viper.Viper
	origins  map[string]string
	bad      map[string]bool // keys whose mistake is reported already
	warnings []*fault.Error
	problems []error
}

func newLoader(src Sources) *loader {
	l := &loader{src: src, env: map[string]string{}, origins: map[string]string{}, bad: map[string]bool{}}
	// Keys contain dots ("worker.node"); viper must not take them apart.
	l.merged = viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	for _, pair := range src.Environ {
		name, value, _ := strings.Cut(pair, "=")
		l.env[name] = value
	}
	for _, s := range settings() {
		l.merged.SetDefault(s.key, s.value)
		l.origins[s.key] = Default
		if s.value == "" {
			l.origins[s.key] = Unset
		}
	}
	return l
}

func (l *loader) add(err error) {
	if err != nil {
		l.problems = append(l.problems, err)
	}
}

func (l *loader) warn(source, format string, args ...any) {
	l.warnings = append(l.warnings, fault.Config("warning", format, args...).About(source))
}

// lay puts a value over what the earlier sources said.
func (l *loader) lay(key, value, origin string) {
	l.add(l.merged.MergeConfigMap(map[string]any{key: value}))
	l.origins[key] = origin
}

// environment lays the variables over the file.
func (l *loader) environment() {
	for _, s := range settings() {
		value, from := l.variable(s.env), s.env
		if s.alias != "" {
			other := l.variable(s.alias)
			if other != "" && value != "" && value != other {
				l.add(fault.Config("conflict", "set only one of %s and %s", s.env, s.alias).About(s.alias))
			}
			if value == "" {
				value, from = other, s.alias
			}
		}
		if from == retriesName && value != "" {
			value = l.attempts(s.key, value)
		}
		if value != "" {
			l.lay(s.key, value, from)
		}
	}
}

// attempts turns a number of retries, as the Dart system counted, into one of attempts.
func (l *loader) attempts(key, value string) string {
	retries, err := strconv.Atoi(value)
	if err != nil || retries < 0 || retries > 999 {
		l.bad[key] = true
		l.add(fault.Config("bad_setting", "%s: want an integer from 0 to 999, got %q", retriesName, value).About(retriesName))
		return ""
	}
	return strconv.Itoa(retries + 1)
}

// variable is the trimmed value of a variable. One that is set to nothing is taken as not set, aloud.
func (l *loader) variable(name string) string {
	value, set := l.env[name]
	value = strings.TrimSpace(value)
	if set && value == "" {
		l.warn(name, "%s is set to nothing; taken as not set", name)
	}
	return value
}

// flags lays the bound flags that were given over everything.
func (l *loader) flags() {
	if l.src.Flags == nil {
		return
	}
	l.src.Flags.Visit(func(f *pflag.Flag) {
		if keys := f.Annotations[annotation]; len(keys) == 1 {
			l.add(l.merged.BindPFlag(keys[0], f))
			l.origins[keys[0]] = "flag --" + f.Name
		}
	})
}

// fill parses the winning texts into cfg.
func (l *loader) fill(cfg *Config) {
	for _, s := range settings() {
		text, origin := l.merged.GetString(s.key), l.origins[s.key]
		if text != "" && !l.bad[s.key] {
			if err := s.set(cfg, text); err != nil {
				l.add(badValue("bad_setting", s.key, origin, err))
			}
		}
		cfg.values = append(cfg.values, Value{Key: s.key, Value: text, Origin: origin, Env: s.env})
	}
	cfg.values = append(cfg.values, l.later()...)
}

// badValue names the source of a value that does not parse: the flag, the variable, or the line and the key.
func badValue(code, key, origin string, err error) error {
	if flag, ok := strings.CutPrefix(origin, "flag "); ok {
		return fault.Usage(code, "%s: %s", flag, err).About(origin)
	}
	return fault.Config(code, "%s: %s", where(key, origin), err).About(origin)
}

// where names a variable or a credential by itself, and a line of a file with the key that stands there.
func where(key, origin string) string {
	if strings.HasPrefix(origin, "STEM_") || strings.HasPrefix(origin, "credential ") || strings.HasPrefix(origin, "flag ") {
		return strings.TrimPrefix(origin, "flag ")
	}
	return origin + ": " + key
}
