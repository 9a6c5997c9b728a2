package encryption_test

import (
	"fmt"
	"log"
	"time"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// Encrypt, then sign: what is stored, and so what is signed, is the ciphertext.
func Example() {
	ring, err := encryption.FromEnviron([]string{"STEM_ENCRYPTION_KEYS=k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})
	if err != nil {
		log.Fatal(err)
	}
	job := &signing.Job{
		ID: [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1c, 0x7b, 0x2c}, Task: "email.welcome", Queue: "mail", Codec: encryption.Wrap("application/json"),
		IssuedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Priority: 5, MaxAttempts: 20, Origin: "app",
	}
	job.Payload, err = ring.Seal(job, []byte(`{"userID":7}`))
	if err != nil {
		log.Fatal(err)
	}

	underneath, sealed := encryption.Unwrap(job.Codec)
	plain, err := ring.Open(job, job.Payload)
	fmt.Println(underneath, sealed, string(plain), err)

	job.Queue = "other"
	_, err = ring.Open(job, job.Payload)
	fmt.Println(err)
	// Output:
	// application/json true {"userID":7} <nil>
	// encryption: not what was sealed for this message (key "k1")
}
