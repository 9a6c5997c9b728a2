package config

import (
	"errors"
	"slices"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
	"github.com/stemqueue/stem/signing"
)

// keys makes the ring of STEM_SIGNING_*, and reports each of its mistakes with the exit code of its kind.
func (l *loader) keys(cfg *Config) {
	ring, err := signing.FromEnviron(l.src.Environ)
	cfg.Keys = ring
	l.problems = append(l.problems, KeyProblems(err)...)
}

// KeyProblems are the faults in what [signing.FromEnviron] or [signing.Ring.Reload] returned.
func KeyProblems(err error) []error {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // of what errors.Join made, not of what is in it
		all = slices.Clone(joined.Unwrap())
	}
	for i, problem := range all {
		if mistake, ok := errors.AsType[*signing.SettingError](problem); ok {
			all[i] = keyFault(mistake)
		}
	}
	return all
}

func keyFault(mistake *signing.SettingError) *fault.Error {
	if file, ok := errors.AsType[*secretfile.Error](mistake); ok {
		return secretFault(file, mistake.Source)
	}
	return fault.Config("bad_signing", "%s", mistake).About(mistake.Source).Because(mistake)
}
