//go:build unix

package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	private, open := write(t, "in file\n", 0o600), write(t, "in file", 0o644)
	credentials, empty := t.TempDir(), t.TempDir()
	mounted := filepath.Join(credentials, "keys")
	if err := os.WriteFile(mounted, []byte("mounted\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  map[string]string
		want Setting
		err  string
	}{
		{nil, Setting{}, ""},
		{map[string]string{"CREDENTIALS_DIRECTORY": empty}, Setting{}, ""},
		{map[string]string{"X": "plain"}, Setting{"plain", "X", false}, ""},
		{map[string]string{"X": "plain", "CREDENTIALS_DIRECTORY": empty}, Setting{"plain", "X", false}, ""},
		{map[string]string{"X_FILE": private}, Setting{"in file", "X_FILE", true}, ""},
		{map[string]string{"CREDENTIALS_DIRECTORY": credentials}, Setting{"mounted", "credential keys", true}, ""},
		{map[string]string{"CREDENTIALS_DIRECTORY": credentials + "/"}, Setting{"mounted", "credential keys", true}, ""},
		{map[string]string{"CREDENTIALS_DIRECTORY": credentials, "X_FILE": mounted}, Setting{"mounted", "X_FILE", true}, ""},
		{map[string]string{"CREDENTIALS_DIRECTORY": filepath.Dir(open), "X_FILE": open}, Setting{"in file", "X_FILE", true}, ""},

		{map[string]string{"X_FILE": open}, Setting{"", "X_FILE", true}, open + ": readable by others (0644); chmod 0600 or use LoadCredential"},
		{map[string]string{"X_FILE": open, "CREDENTIALS_DIRECTORY": empty}, Setting{"", "X_FILE", true}, open + ": readable by others (0644); chmod 0600 or use LoadCredential"},
		{map[string]string{"X_FILE": "/nowhere/x"}, Setting{"", "X_FILE", true}, "/nowhere/x: no such file"},
		{map[string]string{"X": "plain", "X_FILE": private}, Setting{}, "set only one of X and X_FILE"},
		{map[string]string{"X": "plain", "CREDENTIALS_DIRECTORY": credentials}, Setting{}, "set only one of X and the credential keys"},
		{map[string]string{"X_FILE": private, "CREDENTIALS_DIRECTORY": credentials}, Setting{}, "set only one of X_FILE and the credential keys"},
	} {
		got, err := Find(func(name string) string { return tt.env[name] }, "X", "keys")
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%v: got %+v, %v", tt.env, got, err)
		}
		_, conflict := errors.AsType[*ConflictError](err)
		_, unread := errors.AsType[*Error](err)
		if err != nil && conflict == unread {
			t.Errorf("%T", err)
		}
	}
	if got, err := Find(func(string) string { return credentials }, "X", ""); err == nil {
		t.Errorf("got %+v", got)
	}
	// A secret of which there is no credential does not look for one.
	if got, err := Find(func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": credentials}[name] }, "X", ""); got != (Setting{}) || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}
