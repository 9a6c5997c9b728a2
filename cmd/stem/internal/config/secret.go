package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

const (
	credentialsDirectory = "CREDENTIALS_DIRECTORY"
	databaseCredential   = "database-url"
	listenCredential     = "listen-url"
	secretLimit          = 64 << 10
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
		value = l.readSecret(path, origin, private)
		found = append(found, origin)
	}
	if path := l.credential(credential); path != "" {
		origin = "credential " + credential
		value = l.readSecret(path, origin, mounted)
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

func (l *loader) readSecret(path, source string, g guard) string {
	value, err := readSecret(path, g)
	if err != nil {
		err.Message = source + ": " + err.Message
		l.add(err.About(source))
	}
	return value
}

// guard says who keeps others from reading a file.
type guard int

const (
	private guard = iota // its mode
	mounted              // systemd, which mounts it for one service
)

// readSecret reads a small file with a secret in it. One trailing newline is not part of the secret.
func readSecret(path string, g guard) (string, *fault.Error) {
	missing := func(what string) *fault.Error {
		return fault.New(fault.ExitNoInput, "input_missing", "%s: %s", path, what)
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", missing("no such file")
	case errors.Is(err, fs.ErrPermission):
		return "", fault.New(fault.ExitPermission, "permission_denied", "%s: this user may not read it", path)
	case err != nil:
		return "", missing("cannot be read").Because(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", missing("cannot be read").Because(err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "", fault.Config("bad_secret_file", "%s: is a directory", path)
	case g == private && mode.IsRegular() && mode.Perm()&0o044 != 0:
		return "", fault.New(fault.ExitPermission, "secret_readable",
			"%s: readable by others (%04o); chmod 0600 or use LoadCredential", path, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	switch {
	case err != nil:
		return "", missing("cannot be read").Because(err)
	case len(text) > secretLimit:
		return "", fault.Config("bad_secret_file", "%s: larger than 64 KiB", path)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return "", fault.Config("bad_secret_file", "%s: empty", path)
	}
	return value, nil
}
