package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
)

const (
	credentialsDirectory = "CREDENTIALS_DIRECTORY"
	databaseCredential   = "database-url"
	listenCredential     = "listen-url"
)

// secret finds the value of a variable: NAME, the file named by NAME_FILE, or a systemd credential. More than one is a
// mistake, because which of them is in force would be a guess.
func (l *loader) secret(name, credential string) (value, origin string) {
	var found []string
	if v := l.variable(name); v != "" {
		value, origin = v, name
		found = append(found, name)
	}
	if path := l.variable(name + "_FILE"); path != "" {
		origin = name + "_FILE"
		value = l.readSecret(path, origin, secretfile.Private)
		found = append(found, origin)
	}
	if path := l.credential(credential); path != "" {
		origin = "credential " + credential
		value = l.readSecret(path, origin, secretfile.Mounted)
		found = append(found, "the "+origin)
	}
	if len(found) > 1 {
		l.add(fault.Config("conflict", "set only one of %s", strings.Join(found, " and ")).About(name))
		return "", ""
	}
	return value, origin
}

// credential is the path of a systemd credential, or "" when there is none of that name.
func (l *loader) credential(name string) string {
	dir := l.env[credentialsDirectory]
	if dir == "" || name == "" {
		return ""
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

func (l *loader) readSecret(path, source string, g secretfile.Guard) string {
	value, err := secretfile.Read(path, g)
	if e, ok := errors.AsType[*secretfile.Error](err); ok {
		l.add(secretFault(e, source))
	}
	return value
}

// secretFault gives what is wrong with a secret file its exit code.
func secretFault(e *secretfile.Error, source string) *fault.Error {
	exit, code := fault.ExitNoInput, "input_missing"
	switch e.Fault {
	case secretfile.Missing:
	case secretfile.Forbidden:
		exit, code = fault.ExitPermission, "permission_denied"
	case secretfile.Exposed:
		exit, code = fault.ExitPermission, "secret_readable"
	case secretfile.Bad:
		exit, code = fault.ExitConfig, "bad_secret_file"
	}
	return fault.New(exit, code, "%s: %v", source, e).About(source).Because(e)
}
