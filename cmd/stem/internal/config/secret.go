package config

import (
	"errors"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
)

const (
	databaseCredential = "database-url"
	listenCredential   = "listen-url"
)

// secret finds the value of a variable: NAME, the file named by NAME_FILE, or a systemd credential.
func (l *loader) secret(name, credential string) (value, origin string) {
	found, err := secretfile.Find(func(name string) string {
		if name == secretfile.CredentialsDirectory {
			return l.env[name]
		}
		return l.variable(name)
	}, name, credential)
	if conflict, ok := errors.AsType[*secretfile.ConflictError](err); ok {
		l.add(fault.Config("conflict", "%v", conflict).About(name))
	}
	if e, ok := errors.AsType[*secretfile.Error](err); ok {
		l.add(secretFault(e, found.Source))
	}
	return found.Value, found.Source
}

func (l *loader) readSecret(path, source string) string {
	value, err := secretfile.Read(path, secretfile.Private)
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
