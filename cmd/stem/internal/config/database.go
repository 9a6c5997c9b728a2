package config

import (
	"errors"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
)

// aliasNames named separate stores in the Dart system. Here there is one database, which all of them must mean.
var aliasNames = []string{
	"STEM_BROKER_URL", "STEM_RESULT_BACKEND_URL", "STEM_SCHEDULE_STORE_URL", "STEM_REVOKE_STORE_URL",
}

// urls finds the databases, checks that every alias names the same one, and applies the rules of TLS.
func (l *loader) urls(cfg *Config) {
	tls := l.tls()
	cfg.Insecure = tls.AllowInsecure
	found, origin := l.named("database_url", "STEM_DATABASE_URL", databaseCredential)
	found, origin = l.aliases(found, origin)
	if l.src.Database != "" {
		found, origin = l.databaseFlag(), "flag --database-url"
	}
	cfg.Database = l.secure("database_url", found, origin, tls)
	cfg.values = append(cfg.values, urlValue("database_url", "STEM_DATABASE_URL", cfg.Database, origin))

	found, origin = l.named("listen_url", "STEM_LISTEN_URL", listenCredential)
	cfg.Listen = l.secure("listen_url", found, origin, tls)
	cfg.values = append(cfg.values, urlValue("listen_url", "STEM_LISTEN_URL", cfg.Listen, origin))
}

// tls reads the variables of TLS and the files that they name, also when no database is named.
func (l *loader) tls() dsn.TLS {
	t := dsn.TLS{
		AllowInsecure: l.truth("STEM_TLS_ALLOW_INSECURE"),
		CACert:        l.variable("STEM_TLS_CA_CERT"),
		ClientCert:    l.variable("STEM_TLS_CLIENT_CERT"),
		ClientKey:     l.variable("STEM_TLS_CLIENT_KEY"),
		Negotiation:   l.variable("STEM_TLS_NEGOTIATION"),
		Credentials:   l.env[secretfile.CredentialsDirectory],
	}
	if understood := l.truth("STEM_TLS_I_UNDERSTAND"); t.AllowInsecure && l.env["STEM_ENV"] == "production" && !understood {
		l.add(fault.Config("insecure_in_production",
			"STEM_TLS_ALLOW_INSECURE=true is refused in production (STEM_ENV=production)").About("STEM_TLS_ALLOW_INSECURE").
			WithHint("mend the certificate (stem doctor tls says what is wrong with it), or set STEM_TLS_I_UNDERSTAND=1 as well"))
	}
	if t.Negotiation != "" {
		if _, err := arg.ParseChoice(t.Negotiation, []string{"auto", "postgres", "direct"}); err != nil {
			l.add(badValue("bad_setting", "", "STEM_TLS_NEGOTIATION", err))
			t.Negotiation = ""
		}
	}
	if err := t.Check(); err != nil {
		l.add(err)
		t.CACert, t.ClientCert, t.ClientKey = "", "", "" // said once, not for every URL
	}
	return t
}

func urlValue(key, env string, d dsn.DSN, origin string) Value {
	if !d.Given() {
		origin = Unset
	}
	return Value{Key: key, Value: d.String(), Origin: origin, Env: env}
}

// named is the URL of the environment, else that of the file.
func (l *loader) named(key, env, credential string) (dsn.DSN, string) {
	text, origin := l.secret(env, credential)
	if text == "" && origin == "" {
		text, origin = l.merged.GetString(key), l.origins[key]
	}
	return l.parse(key, text, origin), origin
}

func (l *loader) parse(key, text, origin string) dsn.DSN {
	if text == "" {
		return dsn.DSN{}
	}
	d, err := dsn.Parse(text)
	if err != nil {
		l.add(badValue("bad_database_url", key, origin, err))
	}
	return d
}

func (l *loader) secure(key string, d dsn.DSN, origin string, tls dsn.TLS) dsn.DSN {
	if !d.Given() {
		return d
	}
	secured, err := d.Secure(tls)
	if f, ok := errors.AsType[*fault.Error](err); ok { // about a file that the URL names
		f.Message = where(key, origin) + ": " + f.Message
		l.add(f.About(origin))
	} else if err != nil {
		l.add(badValue("insecure_database_url", key, origin, err))
	}
	if secured.Ignored() {
		l.warn(origin, "%s: TLS settings have no effect on a Unix socket", where(key, origin))
	}
	return secured
}

// aliases returns the database, which an alias may name when nothing else does.
func (l *loader) aliases(found dsn.DSN, origin string) (dsn.DSN, string) {
	for _, alias := range aliasNames {
		text, source := l.secret(alias, "")
		d := l.parse("database_url", text, source)
		switch {
		case !d.Given():
		case !found.Given():
			found, origin = d, source
		case !found.SameDatabase(d):
			l.add(fault.Config("conflict", "%s names another database (%s) than %s (%s)", source, d.Target(), origin, found.Target()).
				About(source).WithHint("Stem keeps jobs, results, schedules and revocations in one database; unset %s", alias))
		}
	}
	return found, origin
}

// databaseFlag reads --database-url, which never takes a password: the command line of a process is public.
func (l *loader) databaseFlag() dsn.DSN {
	const source = "flag --database-url"
	text := l.src.Database
	if variable, ok := strings.CutPrefix(text, "env:"); ok {
		value := strings.TrimSpace(l.env[variable])
		if value == "" {
			l.add(fault.Usage("bad_database_url", "--database-url: the variable %s is not set", variable).About(source))
		}
		return l.parse("", value, source+" env:"+variable)
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		return l.parse("", l.readSecret(path, "--database-url"), source+" file:"+path)
	}
	d := l.parse("", text, source)
	if d.HasPassword() {
		l.add(fault.Usage("password_on_command_line",
			"--database-url: every user of this machine can read a password on the command line").About(source).
			WithHint("put the URL into a variable or a file: --database-url env:NAME or --database-url file:PATH"))
		return dsn.DSN{}
	}
	return d
}
