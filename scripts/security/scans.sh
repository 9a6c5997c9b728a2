# shellcheck shell=bash
# What looks for vulnerabilities and secrets. Sourced by run_vulnerability_scan.sh and by tool/quality/run_quality_checks.sh, after
# tool/quality/lib.sh.

: "${tools:?}" # set by who sources this

vulnerabilities() {
  have govulncheck
  local db=${GOVULNDB:-} out rc=0
  if [[ -z $db ]]; then
    # Exit 3 means that something was found; anything else but 0 is looked at before it counts as "no network".
    out=$(govulncheck ./... 2>&1) || rc=$?
    if ! grep -qE 'fetching vulnerabilities|dial tcp|no such host' <<<"$out"; then
      printf 'database: online\n%s\n' "$out"
      note 'govulncheck used the online database, https://vuln.go.dev'
      return "$rc"
    fi
    db=../shared/data/go-vulndb.tar.xz
    if [[ ! -f $db ]]; then
      not_run govulncheck 'no network, and GOVULNDB names no database'
      return
    fi
  fi
  db=$(vulnerability_database "$db")
  printf 'database: %s\n' "$db"
  local newest=
  if [[ $db == file://* ]]; then newest=", newest entry $(newest_entry "${db#file://}")"; fi
  note "govulncheck used $db$newest"
  govulncheck -db "$db" ./...
}

# newest_entry DIRECTORY: the last name tells how old a database is; not every copy keeps dates.
newest_entry() {
  find "$1/ID" -name 'GO-*.json' | sed 's|.*/||; s|\.json$||' | sort -V | tail -n 1
}

# vulnerability_database WHERE: a URL that govulncheck reads; an archive is unpacked into the cache once.
vulnerability_database() {
  case $1 in
  *.tar.xz)
    local dir
    dir=$(dirname "$(dirname "$tools")")/vulndb/$(cksum <"$1" | tr ' ' -)
    if [[ ! -d $dir ]]; then
      mkdir -p "$dir.$$"
      tar xJf "$1" -C "$dir.$$" >&2
      mv "$dir.$$" "$dir"
    fi
    local index
    index=$(find "$dir" -path '*/index/db.json' -print -quit)
    if [[ -z $index ]]; then
      printf '%s holds no index/db.json\n' "$1" >&2
      return 1
    fi
    printf 'file://%s\n' "$(dirname "$(dirname "$index")")"
    ;;
  *://*) printf '%s\n' "$1" ;;
  *) printf 'file://%s\n' "$(cd "$1" && pwd)" ;;
  esac
}

# gosec alone, over the code that is shipped and its tests; the whole of golangci-lint is a step of its own.
insecure_code() {
  have golangci-lint
  in_each_module golangci-lint run --config "$PWD/.golangci.yaml" --enable-only gosec ./...
}

secrets() {
  # Each pattern is written so that it does not match itself.
  local patterns=(
    '-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----'
    '(AKIA|ASIA)[0-9A-Z]{16}'
    'gh[pousr]_[0-9A-Za-z]{36}'
    'github_pat_[0-9A-Za-z_]{40}'
    'glpat-[0-9A-Za-z_-]{20}'
    'npm_[0-9A-Za-z]{36}'
    'xox[abprs]-[0-9A-Za-z-]{10}'
    '[rs]k_live_[0-9A-Za-z]{16}'
    'AIza[0-9A-Za-z_-]{35}'
  )
  local args=() pattern rc=0
  for pattern in "${patterns[@]}"; do args+=(-e "$pattern"); done
  git grep --untracked -nIE "${args[@]}" || rc=$?
  case $rc in
  0)
    printf 'a secret, or something that looks like one. Make keys for tests when the test runs.\n'
    return 1
    ;;
  1) return 0 ;; # nothing found
  *) return "$rc" ;;
  esac
}
