# shellcheck shell=bash
# What the steps of run_quality_checks.sh are written with. Sourced by it.

: "${ci:?}" "${logs:?}" "${module:?}" # set by who sources this

# Each step runs in a subshell of its own with `set -e`; what it wants to say in the summary goes to this file.
notes=$logs/notes

note() { printf '%s\n' "$*" >>"$notes"; }

# not_run WHAT WHY: one of the few exceptions that a run may lack without failing: govulncheck without a database, the
# container rung without an engine.
not_run() {
  printf 'NOT RUN: %s: %s\n' "$1" "$2"
  note "NOT RUN: $1: $2"
}

# could_not_run WHAT WHY: a machine lacks something. A developer is told, CI fails.
could_not_run() {
  not_run "$1" "$2"
  if $ci; then
    printf 'CI=true: a check that could not run has failed\n'
    return 1
  fi
}

# check LABEL COMMAND...: run one of a step's checks and go on, so that one run shows every finding of the step;
# `verdict` at the step's end fails it.
broken=()
check() {
  local label=$1 started=$SECONDS
  shift
  # Not `if "$@"`: inside a condition a function would run without `set -e`.
  set +e
  (
    set -e
    "$@"
  )
  local rc=$?
  set -e
  if ((rc == 0)); then
    printf 'ok    %-34s %4d s\n' "$label" $((SECONDS - started))
  else
    printf 'FAIL  %-34s %4d s (exit %d)\n' "$label" $((SECONDS - started)) "$rc"
    broken+=("$label")
  fi
}

verdict() {
  ((${#broken[@]} == 0)) && return
  printf 'broken: %s\n' "$(join ', ' "${broken[@]}")"
  note "broken: $(join ', ' "${broken[@]}")"
  return 1
}

join() { # SEPARATOR WORD...
  local separator=$1 out=$2 word
  shift 2
  for word in "$@"; do out+=$separator$word; done
  printf '%s' "$out"
}

# silent COMMAND...: for tools that list what is wrong on stdout and exit 0.
silent() {
  local out
  out=$("$@") || {
    printf '%s\n' "$out"
    return 1
  }
  [[ -z $out ]] && return
  printf '%s\n' "$out"
  return 1
}

# tracked PATTERN...: files that git knows and that are there. A pattern may match nothing.
tracked() {
  local file
  git ls-files -z --cached --others --exclude-standard -- "$@" | sort -zu | while IFS= read -r -d '' file; do
    if [[ -f $file ]]; then printf '%s\0' "$file"; fi
  done
}

go_files() { tracked '*.go' ':!internal/store/**'; }

# modules DIR of every Go module in the repository; the benchmarks have one of their own.
modules() {
  local mod
  tracked 'go.mod' '*/go.mod' ':!**/testdata/**' | while IFS= read -r -d '' mod; do dirname "$mod"; done
}

in_each_module() { in_modules_but '' "$@"; }

# What other_modules runs counts for no coverage: the main module's threshold is about what is shipped.
other_modules() { in_modules_but . "$@"; }

in_modules_but() { # DIR COMMAND...
  local dir but=$1
  shift
  modules | while IFS= read -r dir; do
    if [[ $dir == "$but" ]]; then continue; fi
    (
      cd "$dir"
      "$@" </dev/null
    ) || exit 1
  done
}

# packages REGEX: import paths of the main module below a top-level directory that matches, one a line.
packages() {
  go list ./... | while IFS= read -r package; do
    top=${package#"$module"}
    top=${top#/}
    top=${top%%/*}
    if [[ $top =~ ^($1)$ ]]; then printf '%s\n' "$package"; fi
  done
}

is_root() { [[ $(id -u) == 0 ]]; }

apt_install() { # PACKAGE...
  printf 'apt-get install %s\n' "$*"
  # RUNLEVEL=1 keeps packages from starting their services (pgbouncer does).
  local install=(env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  if "${install[@]}" >"$logs/apt.log" 2>&1; then return; fi
  # A fresh machine has no package lists yet, an old one has lists of files that are gone.
  apt-get update -q >>"$logs/apt.log" 2>&1 && "${install[@]}" >>"$logs/apt.log" 2>&1 && return
  tail -n 20 "$logs/apt.log"
  return 1
}

# need COMMAND DEBIAN-PACKAGE: there, or installed from Debian when this is root on a Debian machine.
need() {
  command -v "$1" >/dev/null && return
  if is_root && command -v apt-get >/dev/null; then
    apt_install "$2"
    hash -r
    command -v "$1" >/dev/null && return
    printf '%s is still not there after installing %s\n' "$1" "$2"
    return 1
  fi
  could_not_run "$1" "not installed, and only root on Debian can install it here; install $2"
}

# have COMMAND: ends the check that asks, when setup was not run or could not provide it.
have() {
  command -v "$1" >/dev/null && return
  could_not_run "$1" 'not on PATH: run --only setup first, or install it' || exit 1
  exit 0
}
