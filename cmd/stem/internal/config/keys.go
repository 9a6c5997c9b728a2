package config

import (
	"errors"
	"slices"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/secretfile"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// keys makes the rings of STEM_SIGNING_* and STEM_ENCRYPTION_*, and reports each of their mistakes with the exit code of its kind.
func (l *loader) keys(cfg *Config) {
	var err error
	cfg.Keys, err = signing.FromEnviron(l.src.Environ)
	l.problems = append(l.problems, KeyProblems("signing", err)...)
	cfg.Encryption, err = encryption.FromEnviron(l.src.Environ)
	l.problems = append(l.problems, KeyProblems("encryption", err)...)
}

// KeyProblems are the faults in what making or reloading a ring returned: one of signing or of encryption.
func KeyProblems(of string, err error) []error {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = slices.Clone(joined.Unwrap())
	}
	for i, problem := range all {
		if mistake, ok := errors.AsType[*signing.SettingError](problem); ok {
			all[i] = keyFault(of, mistake)
		}
	}
	return all
}

func keyFault(of string, mistake *signing.SettingError) *fault.Error {
	if file, ok := errors.AsType[*secretfile.Error](mistake); ok {
		return secretFault(file, mistake.Source)
	}
	return fault.Config("bad_"+of, "%s", mistake).About(mistake.Source).Because(mistake)
}
