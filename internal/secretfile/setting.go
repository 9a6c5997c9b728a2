package secretfile

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CredentialsDirectory is the variable with which systemd says where it put the credentials of a service.
const CredentialsDirectory = "CREDENTIALS_DIRECTORY"

// A Setting is a secret and where it was found. The zero value was not.
type Setting struct {
	Value  string
	Source string // NAME, NAME_FILE or "credential name"
	File   bool   // not in the variable itself
}

// A ConflictError is a secret that more than one source gives.
type ConflictError struct{ Sources []string }

func (e *ConflictError) Error() string { return "set only one of " + strings.Join(e.Sources, " and ") }

// Find looks for a secret in the variable NAME, in the file that NAME_FILE names and in a credential of systemd ("": there is none of
// this secret). More than one is a *ConflictError, because which of them is in force would be a guess. Other errors are those
// of Read, and the Setting has the source.
func Find(lookup func(name string) string, name, credential string) (Setting, error) {
	value, path, mounted := lookup(name), lookup(name+"_FILE"), ""
	directory := lookup(CredentialsDirectory)
	if directory != "" && credential != "" {
		mounted = filepath.Join(directory, credential)
		if _, err := os.Stat(mounted); errors.Is(err, fs.ErrNotExist) {
			mounted = ""
		}
	}
	var found []string
	if value != "" {
		found = append(found, name)
	}
	if path != "" {
		found = append(found, name+"_FILE")
	}
	if mounted != "" && filepath.Clean(path) != mounted { // a unit may name the credential by its path
		found = append(found, "the credential "+credential)
	}
	switch {
	case len(found) == 0:
		return Setting{}, nil
	case len(found) > 1:
		return Setting{}, &ConflictError{found}
	case value != "":
		return Setting{Value: value, Source: name}, nil
	}
	path = cmp.Or(path, mounted)
	guard := Private
	if directory != "" && filepath.Dir(filepath.Clean(path)) == filepath.Clean(directory) {
		guard = Mounted
	}
	value, err := Read(path, guard)
	return Setting{Value: value, Source: strings.TrimPrefix(found[0], "the "), File: true}, err
}
