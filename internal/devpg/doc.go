// Package devpg finds or starts the Postgres that `stem dev` and the tests use.
//
// [Start] climbs a ladder and takes the first rung that holds:
//
//  1. the URL in the environment: that server is used and nothing is started;
//  2. an installed server: STEM_PG_BIN, then PATH, then the usual places;
//  3. the cache, which scripts/dev/ensure-postgres.sh fills; the script is embedded and may be run from here;
//  4. a container, if the caller knows how to start one;
//  5. a [NotFoundError], which names every rung and the one command that helps.
//
// On rungs 2 and 3 it makes a private cluster: a new data directory, a certificate authority of its own, TLS with
// scram passwords on a loopback port and nothing else on the network. The cluster belongs to this process: it ends
// with it, even by SIGKILL (on Linux at once; elsewhere the next Start stops what was left), and what a killed process
// left on disk is removed by the next Start.
package devpg
