package terminal_test

import (
	"bytes"
	"testing"

	"github.com/stemqueue/stem/cmd/stem/internal/terminal"
)

func TestColour(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, when string
		env        map[string]string
		tty, want  bool
	}{
		{"terminal", terminal.Auto, nil, true, true},
		{"pipe", terminal.Auto, nil, false, false},
		{"NO_COLOR", terminal.Auto, map[string]string{"NO_COLOR": "1"}, true, false},
		{"NO_COLOR beats CLICOLOR_FORCE", terminal.Auto, map[string]string{"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, true, false},
		{"an empty NO_COLOR is unset", terminal.Auto, map[string]string{"NO_COLOR": ""}, true, true},
		{"CLICOLOR_FORCE", terminal.Auto, map[string]string{"CLICOLOR_FORCE": "1"}, false, true},
		{"CLICOLOR_FORCE=0", terminal.Auto, map[string]string{"CLICOLOR_FORCE": "0"}, false, false},
		{"dumb", terminal.Auto, map[string]string{"TERM": "dumb"}, true, false},
		{"always beats NO_COLOR", terminal.Always, map[string]string{"NO_COLOR": "1"}, false, true},
		{"never beats CLICOLOR_FORCE", terminal.Never, map[string]string{"CLICOLOR_FORCE": "1"}, true, false},
	}
	for _, tt := range tests {
		if got := terminal.Colour(tt.when, func(k string) string { return tt.env[k] }, tt.tty); got != tt.want {
			t.Errorf("%s: Colour = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestABufferIsNoTerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if terminal.Is(&b) || terminal.Width(&b) != 0 {
		t.Error("a buffer passes for a terminal")
	}
}
