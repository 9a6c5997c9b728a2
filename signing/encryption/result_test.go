package encryption

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stemqueue/stem/signing"
)

// TestResults: bound to the job, its generation, attempt, claim and outcome; the claim is read from what is stored, and a result of another
// claim is none of this one.
func TestResults(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 0))
	result := signing.Result{JobID: pageID, Generation: 1, Attempt: 2, ClaimID: otherID, Outcome: "completed"}
	plain := []byte(`{"sent":1}`)
	stored, err := SealResult(ring, result, plain)
	if err != nil {
		t.Fatal(err)
	}
	if !IsSealedResult(stored) || stored[0] != 2 || !bytes.Equal(stored[1:17], otherID[:]) || stored[17] != 1 || bytes.Contains(stored, []byte("sent")) {
		t.Fatalf("stored is %x", stored)
	}
	result.ClaimID = [16]byte{} // nobody but the worker knows it
	if got, err := OpenResult(ring, result, stored); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, change := range map[string]func(*signing.Result){
		"job":        func(r *signing.Result) { r.JobID = otherID },
		"generation": func(r *signing.Result) { r.Generation = 2 },
		"attempt":    func(r *signing.Result) { r.Attempt = 3 },
		"outcome":    func(r *signing.Result) { r.Outcome = "cancelled" },
	} {
		r := result
		change(&r)
		if got, err := OpenResult(ring, r, stored); got != nil || !errors.Is(err, ErrNotSealed) {
			t.Errorf("another %s: %q, %v", name, got, err)
		}
	}
	other := bytes.Clone(stored)
	other[1] ^= 1
	for name, b := range map[string][]byte{
		"another claim": other, "nothing": {}, "a version alone": stored[:1], "half a claim": stored[:9], "a claim alone": stored[:17],
		"readable": plain, "a payload": stored[17:], "cut": stored[:len(stored)-1],
	} {
		if got, err := OpenResult(ring, result, b); got != nil || !errors.Is(err, ErrNotSealed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := OpenResult(ringOf(t, "STEM_ENCRYPTION_KEYS=k2:"+masterKey(t, 1)), result, stored); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := SealResult((*Ring)(nil), result, plain); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
	if IsSealedResult(nil) || IsSealedResult(plain) {
		t.Error("a readable result is taken for a sealed one")
	}
}
