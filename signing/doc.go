// Package signing signs what Stem stores, and verifies it before anything is done with it.
//
// A [Ring] holds the keys and the [Policy]. A producer signs with it, a worker verifies:
//
//	ring, err := signing.FromEnv()
//	sig, err := ring.Sign(&job)      // the zero Signature when signing is off; an error means: do not store
//
//	err := ring.Verify(&job, sig)    // a *Refusal, with the reason
//	if err == nil {
//		err = job.CheckTimes(createdAt, claimedAt)
//	}
//	switch ring.Policy().Judge(err) { … }
//
// What is signed is a list of fields, each with its number and its length, under the pre-authentication encoding of DSSE:
// https://github.com/secure-systems-lab/dsse/blob/master/protocol.md. There is no parser on the signed side.
package signing
