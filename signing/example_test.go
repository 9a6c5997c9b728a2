package signing_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/stemqueue/stem/signing"
)

// The keys of an example; make your own: openssl rand -base64 32
const (
	v1 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	v2 = "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8="
)

func welcome() *signing.Job {
	issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &signing.Job{
		ID: [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1c, 0x7b, 0x2c}, Task: "email.welcome", Queue: "mail", Codec: "application/json",
		Payload: []byte(`{"userID":7}`), IssuedAt: issued, Priority: 5, MaxAttempts: 20, Origin: "app",
	}
}

// A producer signs, a worker verifies before it does anything else with a job. FromEnv is FromEnviron(os.Environ()).
func Example() {
	producer, err := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + v1, "STEM_SIGNING_ACTIVE_KEY=v1"})
	if err != nil {
		log.Fatal(err)
	}
	signature, err := producer.Sign(welcome())
	if err != nil {
		log.Fatal(err)
	}

	worker, err := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + v1})
	if err != nil {
		log.Fatal(err)
	}
	judge := func(job *signing.Job) {
		err := worker.Verify(job, signature)
		if err == nil {
			err = job.CheckTimes(job.IssuedAt.Add(time.Second), job.IssuedAt.Add(time.Minute)) // as the server says
		}
		switch worker.Policy().Judge(err) {
		case signing.Run:
			fmt.Println("run")
		default:
			fmt.Println(err)
		}
	}
	judge(welcome())
	forged := welcome()
	forged.Payload = []byte(`{"userID":8}`)
	judge(forged)
	// Output:
	// run
	// signing: signature_invalid: the signature is not of key "v1" over this job for stem
}

// Everything that is wrong is said at once, and no key with it.
func ExampleFromEnviron() {
	_, err := signing.FromEnviron([]string{
		"STEM_SIGNING_KEYS=v1:" + v1 + ",v2:c2hvcnQ=",
		"STEM_SIGNING_ACTIVE_KEY=v3",
		"STEM_SIGNING_POLICE=off",
	})
	fmt.Println(err)
	// Output:
	// unknown variable STEM_SIGNING_POLICE. Did you mean STEM_SIGNING_POLICY?
	// STEM_SIGNING_KEYS: key "v2": 5 bytes; hmac-sha256 needs at least 32. Make one: openssl rand -base64 32
	// STEM_SIGNING_ACTIVE_KEY="v3" is not in STEM_SIGNING_KEYS (have v1, v2)
}

// A new key goes to every process before anything signs with it.
func ExampleRing_rotation() {
	old, _ := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + v1 + ",v2:" + v2, "STEM_SIGNING_ACTIVE_KEY=v1"})
	switched, _ := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + v1 + ",v2:" + v2, "STEM_SIGNING_ACTIVE_KEY=v2"})
	done, _ := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v2:" + v2, "STEM_SIGNING_ACTIVE_KEY=v2"})

	signature, err := old.Sign(welcome())
	fmt.Println(signature.KeyID, err)
	fmt.Println("both keys:", switched.Verify(welcome(), signature))
	err = done.Verify(welcome(), signature)
	refusal, _ := errors.AsType[*signing.Refusal](err)
	fmt.Println("v1 gone too early:", refusal.Reason, done.Policy().Judge(err) == signing.Release)
	fmt.Println(done)
	// Output:
	// v1 <nil>
	// both keys: <nil>
	// v1 gone too early: signature_unknown_key true
	// signing required for stem with v2 (05080cb7b8d78eb5)
}
