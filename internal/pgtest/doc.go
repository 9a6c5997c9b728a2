// Package pgtest gives each test a migrated database of its own, on a real Postgres.
//
// One cluster serves a test binary. It is found or started by package devpg when the first test asks for it, and
// stopped by [Main]:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		pool := pgtest.Pool(t)
//		…
//	}
//
// The environment decides:
//
//	STEM_TEST_DATABASE_URL=URL   use that server; its user must be able to create databases and roles
//	STEM_TEST_PG_MAJOR=14        only that major version
//	STEM_TEST_REQUIRE_DB=1       no database is a failure instead of a skipped test; CI=true means the same
//	STEM_TEST_KEEP=1             keep the databases of failed tests, print their URLs and wait for Ctrl-C
//	STEM_TEST_PG_IMAGE=NAME      the image of the container rung, docker.io/postgres:18 without it
//	STEM_PGBOUNCER=FILE          the program pgbouncer, where it is not on PATH
//
// A database that cannot be had is one thing, a database that does not start another: the latter fails the test always.
package pgtest
