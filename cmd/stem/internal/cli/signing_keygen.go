package cli

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/signing"
)

// made is a new key in the forms in which a configuration takes one.
type made struct {
	id, algorithm string
	secret        string // of HMAC
	private       string // of Ed25519: the seed
	public        string
}

// keyEntry is an entry of a key file.
type keyEntry struct {
	ID      string        `json:"id"`
	Alg     string        `json:"alg"`
	Secret  string        `json:"secret,omitempty"`
	Private string        `json:"private,omitempty"`
	Public  string        `json:"public,omitempty"`
	State   signing.State `json:"state"`
}

var madeSheet = output.Sheet[made]{Noun: "key", Columns: []output.Column[made]{
	{Header: "ID", Value: func(k made) any { return k.id }, Name: true},
	{Header: "Algorithm", Value: func(k made) any { return k.algorithm }},
	{Header: "Environment", Value: func(k made) any { return object(k.environment()) }},
	{Header: "Signer", Value: func(k made) any {
		return object(keyEntry{ID: k.id, Alg: k.algorithm, Secret: k.secret, Private: k.private, State: signing.StateSign})
	}},
	{Header: "Verifier", Value: func(k made) any {
		return object(keyEntry{ID: k.id, Alg: k.algorithm, Secret: k.secret, Public: k.public, State: signing.StateVerify})
	}},
}}

func object(v any) json.RawMessage {
	b, _ := json.Marshal(v) // strings only: cannot fail
	return b
}

func newSigningKeygen(a *App) *cobra.Command {
	id, algorithm := arg.KeyID("v1"), arg.OneOf(signing.HMACSHA256, signing.HMACSHA256, signing.Ed25519)
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a signing key, and print how to configure it",
		Long: "Make a signing key and print the lines to export; with --json also as entries of a key file, one for who signs and one for who\n" +
			"verifies. It needs no database and stores nothing: the only copy is on stdout.\n\n" +
			"To rotate, put the new key behind the old ones, in every process, before it is made active:\n" +
			"stem signing status --key v2 tells when every worker accepts it.",
		Example: "  stem signing keygen\n" +
			"  stem signing keygen --id v2 --algorithm ed25519\n" +
			"  (umask 077; stem signing keygen --json | jq '{keys: [.signer]}' > keys.json)",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			k := newKey(string(id), algorithm.Value)
			if err := k.print(a.Printer); err != nil {
				return err
			}
			ring, err := signing.FromEnviron(k.environ())
			if err != nil {
				return err
			}
			a.Printer.Note("key %q has the fingerprint %s", k.id, ring.Keys()[0].Fingerprint)
			return nil
		},
	}
	cmd.Flags().Var(&id, "id", "its name")
	cmd.Flags().Var(&algorithm, "algorithm", "with hmac-sha256 whoever verifies can sign as well; with ed25519 workers hold a public key only")
	return standalone(cmd)
}

func newKey(id, algorithm string) made {
	k := made{id: id, algorithm: algorithm}
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: it ends the program instead
	text := base64.StdEncoding.EncodeToString(seed[:])
	if algorithm != signing.Ed25519 {
		k.secret = text
		return k
	}
	public, _ := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	k.private, k.public = text, base64.StdEncoding.EncodeToString(public)
	return k
}

// environment is the variables of a process that signs.
func (k made) environment() map[string]string {
	env := map[string]string{"STEM_SIGNING_ALGORITHM": k.algorithm, "STEM_SIGNING_ACTIVE_KEY": k.id}
	if k.secret != "" {
		env["STEM_SIGNING_KEYS"] = k.id + ":" + k.secret
		return env
	}
	env["STEM_SIGNING_PUBLIC_KEYS"] = k.id + ":" + k.public
	env["STEM_SIGNING_PRIVATE_KEYS"] = k.id + ":" + k.private
	return env
}

func (k made) environ() []string {
	var list []string
	for name, value := range k.environment() {
		list = append(list, name+"="+value)
	}
	return list
}

// print writes the lines for a shell, or what another format has.
func (k made) print(p *output.Printer) error {
	if !p.ForPeople() {
		return output.One(p, &madeSheet, k)
	}
	const export = "export %s=%s\n"
	lines := fmt.Sprintf(export, "STEM_SIGNING_ALGORITHM", k.algorithm)
	if k.secret != "" {
		lines += fmt.Sprintf(export, "STEM_SIGNING_KEYS", `"`+k.id+":"+k.secret+`"`)
	} else {
		lines += fmt.Sprintf(export, "STEM_SIGNING_PUBLIC_KEYS", `"`+k.id+":"+k.public+`"`) +
			"# only where jobs are enqueued:\n" + fmt.Sprintf(export, "STEM_SIGNING_PRIVATE_KEYS", `"`+k.id+":"+k.private+`"`)
	}
	_, err := fmt.Fprint(p.Out, lines+fmt.Sprintf(export, "STEM_SIGNING_ACTIVE_KEY", k.id))
	return err
}
