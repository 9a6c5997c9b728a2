package doctor

// Check is a part of Stem's surroundings that works or does not.
type Check struct {
	Component string
	Status    string // OK, Failed or Skipped
	Message   string
	Hints     []string
}

// What a check can come to.
const (
	OK      = "ok"
	Failed  = "error"
	Skipped = "skipped" // what it depends on has failed
)
