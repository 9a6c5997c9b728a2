#!/usr/bin/env bash
# Runs the quality checks, step by step. This is what CI runs and what `make check` runs.
#
#   tool/quality/run_quality_checks.sh [--keep-going] [--only STEP]... [--skip STEP]...
#
# Steps, in order:
#   setup        Postgres (default, oldest, newest major), PgBouncer, Python and OpenSSL (they check the signatures' vectors),
#                linters and the pinned Go tools
#   format       gofumpt, goimports, shfmt, sqlc drift, go mod tidy, go fix
#   analyze      go vet, golangci-lint, shellcheck, squawk over the migrations, yamllint
#   unit         go test -race -shuffle=on, everything but integration/, chaos/ and cmd/; bench/ too
#   integration  the packages that need Postgres, on the oldest and the newest supported major
#   container    pgtest's rung of containers, with the engine of this machine or with podman; NOT RUN where none can be had
#   cli          cmd/..., testscript included
#   coverage     merged over the three before: overall threshold, floor per package
#   security     govulncheck, secrets, licences
#   bench        bench smoke: every benchmark runs and prints its figures; never a pass or fail on time
#
# --only and --skip may be repeated. A step that could not run says so; under CI=true that is a failure.
#
# Environment:
#   CI=true                    nothing may be missing
#   RUN_COVERAGE=0             no profiles, no coverage step
#   COVERAGE_THRESHOLD         per cent of statements overall (80)
#   GOVULNDB                   vulnerability database: a URL, a directory or a .tar.xz of one
#   STEM_TOOL_CACHE            where the tools are kept
#   STEM_QUALITY_LOGS          where each step's output is kept (tmp/quality)
#   STEM_QUALITY_ALLOW_EMPTY   steps that may find no package, separated by spaces
set -euo pipefail
if ((BASH_VERSINFO[0] < 4)); then
  printf 'bash 4 or newer is needed, this is %s\n' "$BASH_VERSION" >&2
  exit 69
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

all_steps=(setup format analyze unit integration container cli coverage security bench)
oldest_pg=14
newest_pg=18
module=github.com/stemqueue/stem

usage() { sed -n '2,/^set -/{s/^# \{0,1\}//;/^set -/!p}' "${BASH_SOURCE[0]}"; }

# --- arguments ------------------------------------------------------------------------------------------------------

keep_going=false
only=()
skip=()

known_step() {
  local step
  for step in "${all_steps[@]}"; do
    [[ $step == "$1" ]] && return
  done
  printf 'no step "%s"; there are: %s\n' "$1" "${all_steps[*]}" >&2
  exit 64
}

while (($# > 0)); do
  case $1 in
  --keep-going) keep_going=true ;;
  --only | --skip)
    if (($# < 2)); then
      printf '%s needs a step: %s\n' "$1" "${all_steps[*]}" >&2
      exit 64
    fi
    known_step "$2"
    if [[ $1 == --only ]]; then only+=("$2"); else skip+=("$2"); fi
    shift
    ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    printf 'unknown argument %s; see --help\n' "$1" >&2
    exit 64
    ;;
  esac
  shift
done

for name in go git; do
  if ! command -v "$name" >/dev/null; then
    printf '%s is not on PATH: the checks need it\n' "$name" >&2
    exit 69
  fi
done

ci=false
[[ ${CI:-} == true ]] && ci=true
with_coverage=true
[[ ${RUN_COVERAGE:-1} == 0 ]] && with_coverage=false

logs=${STEM_QUALITY_LOGS:-$PWD/tmp/quality}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
tools=$(tool/quality/install_tools.sh --print-bin)
export PATH="$tools:$PATH"

# shellcheck source=tool/quality/lib.sh
source tool/quality/lib.sh
# shellcheck source=scripts/security/scans.sh
source scripts/security/scans.sh

# --- setup ------------------------------------------------------------------------------------------------------------

step_setup() {
  check 'C compiler (go test -race)' c_compiler
  check npm need npm npm
  check shellcheck need shellcheck shellcheck
  check yamllint need yamllint yamllint
  check pgbouncer need pgbouncer pgbouncer
  check python3 need python3 python3
  check openssl need openssl openssl
  if [[ $(uname -s) == Linux ]]; then check systemd-analyze need systemd-analyze systemd; fi
  check 'Go modules' in_each_module go mod download
  check tools tool/quality/install_tools.sh
  check 'Postgres, default' ensure_postgres
  check "Postgres $oldest_pg" ensure_postgres --major "$oldest_pg"
  check "Postgres $newest_pg" ensure_postgres --major "$newest_pg"
  verdict
}

c_compiler() {
  if command -v "$(go env CC | cut -d' ' -f1)" >/dev/null; then return; fi
  need gcc gcc
  if is_root && command -v apt-get >/dev/null; then apt_install libc6-dev; fi
}

ensure_postgres() {
  if [[ ! -x scripts/dev/ensure-postgres.sh ]]; then
    could_not_run 'scripts/dev/ensure-postgres.sh' 'not there'
    return
  fi
  local bin
  bin=$(scripts/dev/ensure-postgres.sh "$@" --print-bin)
  "$bin/postgres" --version
}

# --- format -----------------------------------------------------------------------------------------------------------

step_format() {
  check gofumpt format_with gofumpt -l
  check goimports format_with goimports -l -local "$module"
  check shfmt format_shell
  check 'sqlc diff' sqlc_drift
  check 'go mod tidy -diff' in_each_module go mod tidy -diff
  check 'go fix -diff' in_each_module go fix -diff ./...
  verdict
}

format_with() {
  have "$1"
  local files=()
  mapfile -d '' -t files < <(go_files)
  silent "$@" "${files[@]}"
}

# Every shell script, by name or by its first line.
shell_files() {
  local file first
  tracked '*.sh' .ci/run 'scripts/**' | sort -zu | while IFS= read -r -d '' file; do
    IFS= read -r first <"$file" || true
    if [[ $file == *.sh || $first == '#!'*sh ]]; then printf '%s\0' "$file"; fi
  done
}

format_shell() {
  have shfmt
  local files=()
  mapfile -d '' -t files < <(shell_files)
  shfmt -d -i 2 "${files[@]}"
}

sqlc_drift() {
  have sqlc
  if [[ -z $(git ls-files db/sqlc.yaml) ]]; then
    could_not_run 'sqlc diff' 'db/sqlc.yaml is not in the repository'
    return
  fi
  (cd db && sqlc diff)
}

# --- analyze ----------------------------------------------------------------------------------------------------------

step_analyze() {
  check 'go vet' in_each_module go vet ./...
  check golangci-lint lint_go
  check shellcheck lint_shell
  check squawk lint_migrations
  check yamllint lint_yaml
  verdict
}

lint_go() {
  have golangci-lint
  in_each_module golangci-lint run --config "$PWD/.golangci.yaml" ./...
}

lint_shell() {
  have shellcheck
  local files=()
  mapfile -d '' -t files < <(shell_files)
  shellcheck "${files[@]}"
}

# squawk knows nothing of goose: it would judge the way down as well. Each file is handed over up to there.
lint_migrations() {
  have squawk
  local file transaction up out bad=0 count=0
  while IFS= read -r -d '' file; do
    count=$((count + 1))
    up=$(sed '/^-- +goose Down/,$d' "$file")
    transaction=--assume-in-transaction
    if grep -q '^-- +goose NO TRANSACTION' "$file"; then transaction=--no-assume-in-transaction; fi
    out=$(squawk --config tool/quality/squawk.toml "$transaction" --stdin-filepath "$file" <<<"$up" 2>&1) || {
      printf '%s\n' "$out"
      bad=1
    }
  done < <(tracked 'db/migrations/*.sql')
  if ((count == 0)); then could_not_run squawk 'no migrations in db/migrations'; fi
  return "$bad"
}

lint_yaml() {
  have yamllint
  yamllint --strict .
}

# --- tests ------------------------------------------------------------------------------------------------------------

# What does not count for coverage: generated code, examples, what only tests use, and these tools.
uncounted="internal/store|internal/pgtest|internal/labtest|examples|tool|integration|chaos"

# go_test PROFILE LIST FLAGS...: LIST is one import path a line. The processes that a test starts count as well, be they
# the test binary again (testscript) or built with -cover: go test gives them GOCOVERDIR and merges what they leave.
go_test() {
  local profile=$1 list=$2 flags=()
  shift 2
  if $with_coverage; then
    flags=(-coverprofile "$logs/$profile.cover" -coverpkg=./...)
    rm -f "$logs/$profile.cover"
  fi
  local paths=()
  mapfile -t paths <<<"$list"
  # Many tests wait for a database, a process or a clock: with twice as many at once as there are cores cmd/stem and db take little more
  # than half the time.
  go test -race -timeout 20m -parallel "$((2 * $(getconf _NPROCESSORS_ONLN)))" "${flags[@]+"${flags[@]}"}" "$@" "${paths[@]}" | tee "$logs/$profile.out"
  # Packages without test files pass; a step of nothing else does not.
  if ! grep -q '^ok ' "$logs/$profile.out"; then could_not_run "$profile" 'no package has a test'; fi
}

# no_packages STEP LIST: true, and judged, when there is nothing to test.
no_packages() {
  [[ -n $2 ]] && return 1
  case " ${STEM_QUALITY_ALLOW_EMPTY:-} " in
  *" $1 "*) not_run "$1" 'no package yet, which STEM_QUALITY_ALLOW_EMPTY allows' ;;
  *) could_not_run "$1" 'no package to test' || exit 1 ;;
  esac
}

step_unit() {
  local list
  list=$(packages '.*' | grep -vE "^$module/(integration|chaos|cmd)(/|\$)" || true)
  if no_packages unit "$list"; then return; fi
  go_test unit "$list" -shuffle=on
  go test -count=1 -run '^TestNoAllocation$' ./signing # under -race it is skipped
  other_modules go test -race -shuffle=on ./...
}

step_integration() {
  local list
  list=$(packages 'integration|db|queue|worker|scheduler|control')
  if no_packages integration "$list"; then return; fi
  if [[ -n ${STEM_TEST_DATABASE_URL:-} ]]; then
    could_not_run "Postgres $oldest_pg and $newest_pg" 'STEM_TEST_DATABASE_URL names one server: one run against that'
    go_test integration "$list" -count=1
    return
  fi
  local major
  rm -f "$logs"/integration*.cover
  for major in "$oldest_pg" "$newest_pg"; do
    printf '\nPostgres %s\n' "$major"
    # -count=1: Go's test cache knows the environment, not the server behind it.
    STEM_TEST_PG_MAJOR=$major go_test "integration-$major" "$list" -count=1
  done
}

step_container() {
  local rc=0
  tool/quality/container/run.sh >"$logs/container.out" 2>&1 || rc=$?
  cat "$logs/container.out"
  if ((rc == 75)); then
    not_run 'container rung' "$(tail -n 1 "$logs/container.out")"
    return
  fi
  note "$(grep -c '^--- PASS' "$logs/container.out" || true) tests in a container, $(grep -m 1 '^engine: ' "$logs/container.out")"
  return "$rc"
}

step_cli() {
  local list
  list=$(packages 'cmd')
  if no_packages cli "$list"; then return; fi
  go_test cli "$list" -shuffle=on
}

# --- coverage ---------------------------------------------------------------------------------------------------------

step_coverage() {
  local profiles=() profile rc=0
  for profile in "$logs"/*.cover; do
    if [[ -f $profile ]]; then profiles+=("$profile"); fi
  done
  if ((${#profiles[@]} == 0)); then
    printf 'no profiles in %s: run the steps unit, integration and cli first\n' "$logs"
    return 1
  fi
  printf 'merged: %s\n\n' "$(join ' ' "${profiles[@]##*/}")"
  go run ./tool/quality/coverage -module "$module" -threshold "${COVERAGE_THRESHOLD:-80}" \
    -floors tool/quality/coverage_floors.txt -except "$uncounted" "${profiles[@]}" | tee "$logs/coverage.txt" || rc=$?
  note "$(grep '^total' "$logs/coverage.txt" | tr -s ' ')"
  return "$rc"
}

# --- security ---------------------------------------------------------------------------------------------------------

step_security() {
  check govulncheck vulnerabilities
  check secrets secrets
  check licences licences
  verdict
}

licences() {
  local list
  list=$(packages 'cmd')
  # Before there is a command, the library is what is shipped.
  if [[ -z $list ]]; then list=./...; fi
  # shellcheck disable=SC2086 # import paths, one a word
  go run ./tool/quality/licences $list
}

# --- bench smoke ------------------------------------------------------------------------------------------------------

# A scenario that errs, or gives a figure that cannot be, fails. How fast it was says nothing here.
step_bench() {
  (cd bench && go run . --scenario all --smoke) 2>"$logs/bench.err" | tee "$logs/bench.out" || {
    tail -n 20 "$logs/bench.err"
    return 1
  }
  note "$(grep -c '^[a-z]*: ' "$logs/bench.out") scenarios; the figures of a smoke run mean nothing"
}

# --- the run ----------------------------------------------------------------------------------------------------------

chosen() { # STEP: empty when it is to run, else why not
  local step
  for step in "${skip[@]+"${skip[@]}"}"; do
    if [[ $step == "$1" ]]; then
      printf 'skipped: --skip %s' "$1"
      return
    fi
  done
  if ((${#only[@]} > 0)); then
    for step in "${only[@]}"; do
      [[ $step == "$1" ]] && return
    done
    printf 'skipped: --only'
    return
  fi
  if [[ $1 == coverage ]] && ! $with_coverage; then printf 'skipped: RUN_COVERAGE=0'; fi
}

summary=()
failed=()
stopped=false
run_started=$SECONDS

# A whole run starts from nothing, so that no profile of yesterday counts. --only coverage uses the last run's.
if ((${#only[@]} == 0)); then rm -rf "${logs:?}"/*; fi

run_step() {
  local step=$1 started=$SECONDS rc
  : >"$notes"
  printf '\n=== %s\n' "$step"
  set +e
  (
    set -e
    "step_$step"
  ) </dev/null 2>&1 | tee "$logs/$step.log"
  rc=${PIPESTATUS[0]}
  set -e
  local took=$((SECONDS - started)) result=ok
  if ((rc != 0)); then
    result=FAIL
    failed+=("$step")
    $keep_going || stopped=true
  fi
  summary+=("$(printf '%-12s %-8s %5d s' "$step" "$result" "$took")")
  local line
  while IFS= read -r line; do summary+=("               $line"); done <"$notes"
}

for step in "${all_steps[@]}"; do
  reason=$(chosen "$step")
  if [[ -n $reason ]]; then
    summary+=("$(printf '%-12s %s' "$step" "$reason")")
  elif $stopped; then
    summary+=("$(printf '%-12s not reached: %s failed' "$step" "${failed[0]}")")
  else
    run_step "$step"
  fi
done

printf '\n=== summary (logs in %s)\n' "$logs"
printf '%s\n' "${summary[@]}"
printf '%-12s %-8s %5d s\n' all "$( ((${#failed[@]} == 0)) && printf ok || printf FAIL)" $((SECONDS - run_started))

# The closing lines of go test come last.
closing=()
for step in unit integration container cli; do
  if [[ -z $(chosen "$step") && -f $logs/$step.log ]]; then closing+=("$logs/$step.log"); fi
done
if ((${#closing[@]} > 0)); then
  printf '\n=== go test\n'
  grep -hE '^(ok  |PASS$|FAIL|--- FAIL|panic: )' "${closing[@]}" || printf 'no package was tested\n'
fi

((${#failed[@]} == 0))
