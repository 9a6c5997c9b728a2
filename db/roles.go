package db

import (
	"slices"
	"strings"
)

// OwnerRole is the role that owns the schema where Stem's roles are used. Nobody logs in as it: who migrates takes it.
const OwnerRole = "stem_owner"

// A Role is one of the group roles that Stem's rights are granted to; logins are made members. A role holds USAGE on schema stem,
// EXECUTE on these functions, SELECT on these views, and nothing else: nobody but the owner has any right on a table.
type Role struct {
	Name      string   // stem_worker
	Holder    string   // who logs in as a member of it, in words
	Functions []string // without the schema; every form of each
	Views     []string
}

// Which function is whose is decided here and nowhere else. One whose name begins with an underscore is the owner's alone, to be
// called by others of its functions; a test fails for any other that stands in no list.
var (
	producing = []string{"enqueue", "enqueue_many", "enqueue_one", "enqueue_trigger", "job_states", "schema_version", "uuid7"}
	working   = []string{
		"adopt_orphans", "claim", "claim_states", "complete", "declare_lost", "deregister", "drop_duty", "drop_strays", "due", "finish",
		"heartbeat", "horizon", "prune_keys", "put_back", "raise_epoch", "register", "rescue", "rotate", "set_idle", "suspects",
		"take_duty", "void_claim", "watch",
	}
	scheduling = []string{
		"advance_schedules", "cancel_previous", "lock_schedules", "next_schedule", "prune_runs", "read_schedules", "recent_runs", "record_runs",
		"runs_with_jobs",
	}
	// What shows no payload, no header, no result and no error text.
	observing = []string{
		"count_jobs", "count_waiting", "list_jobs", "list_queues", "list_runs", "list_schedules", "list_tasks", "list_workers",
		"schema_version", "signature_usage",
	}
	operating = []string{
		"apply_schedules", "cancel", "dead_groups", "delete_schedules", "disable_schedule", "forget_queue", "job_states", "list_attempts", "list_audit", "list_dead", "list_envelopes", "pause_queue",
		"payload_json", "payload_text", "purge_dead", "purge_queue", "read_schedules", "replay", "resume_queue", "retry_now", "set_queue", "show_job",
		"supersede_dead",
	}
	observed = []string{"job_status"}
	operated = []string{"job_payloads"}
)

// Roles lists the group roles, in the order in which RoleFor looks.
func Roles() []Role {
	return []Role{
		{"stem_producer", "a program that enqueues", union(producing), nil},
		{"stem_worker", "a worker", union(producing, working), nil},
		{"stem_observer", "who looks and collects figures", union(observing), union(observed)},
		{"stem_operator", "who cancels, replays, pauses and purges", union(observing, operating), union(observed, operated)},
		{"stem_scheduler", "a scheduler", union(producing, scheduling), nil},
		{"stem_admin", "operator and scheduler in one", union(producing, scheduling, observing, operating), union(observed, operated)},
	}
}

// RoleFor returns the least role that may use a function or view of schema stem, such as stem_worker for "claim"; empty when the
// owner alone may.
func RoleFor(object string) string {
	for _, r := range Roles() {
		if slices.Contains(r.Functions, object) || slices.Contains(r.Views, object) {
			return r.Name
		}
	}
	return ""
}

func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// A right is one privilege on one object, both as GRANT writes them.
type right struct{ privilege, object string }

func (r right) String() string { return r.privilege + " on " + r.object }

// rights are everything that the role holds in a database.
func (r Role) rights() []right {
	list := []right{{"USAGE", "schema stem"}}
	for _, f := range r.signatures() {
		list = append(list, right{"EXECUTE", "function " + f})
	}
	for _, v := range r.Views {
		list = append(list, right{"SELECT", "table stem." + v})
	}
	return list
}

// signatures are the functions of the role with schema and arguments, from the manifest.
func (r Role) signatures() []string {
	var list []string
	for _, i := range parseManifest(manifest) {
		if i.kind == "function" && slices.Contains(r.Functions, bareFunction(i.name)) {
			list = append(list, i.name)
		}
	}
	return list
}

// bareFunction takes stem.claim(uuid) to claim.
func bareFunction(signature string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(signature, "stem."), "(")
	return name
}
