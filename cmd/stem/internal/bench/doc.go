// Package bench measures what Stem does on the user's own database: enqueue, drain and pickup, beside the round trip and the commit
// that nothing can be faster than, and what the settings cost. It works in a queue of its own with a task of its own, and takes
// back what it made, also when it fails or is interrupted.
package bench
