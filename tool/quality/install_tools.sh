#!/usr/bin/env bash
# Builds the pinned tools of the quality checks into a cache and prints the directory to put on PATH.
#
#   tool/quality/install_tools.sh               build what is missing, print the directory
#   tool/quality/install_tools.sh --print-bin   only print the directory
#
# Go tools come from tool/quality/tools.mod through the Go module proxy, squawk from npm. The cache is keyed by
# everything that decides what is built, so a new version is built anew and a second run takes no time.
# STEM_TOOL_CACHE moves it (default: $XDG_CACHE_HOME/stem/tools, else ~/.cache/stem/tools).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

go_tools=(
  mvdan.cc/gofumpt
  golang.org/x/tools/cmd/goimports
  mvdan.cc/sh/v3/cmd/shfmt
  golang.org/x/vuln/cmd/govulncheck
  github.com/pressly/goose/v3/cmd/goose
  github.com/golangci/golangci-lint/v2/cmd/golangci-lint
  github.com/sqlc-dev/sqlc/cmd/sqlc
)
# The drivers that goose's command line links by default cost 50 MB and a minute; Stem needs Postgres.
goose_tags=no_azuresql,no_clickhouse,no_libsql,no_mssql,no_mysql,no_sqlite3,no_vertica,no_ydb

squawk_version=2.66.0
# sha512 of the npm tarball. On other platforms npm's own check of what it fetched has to do.
squawk_linux_x64=a795aae4121c0c6ba32699ae6f786250b9221189f023b14f7576963230b0a1842f379448efd127888f79c2cd7494b5f17206cdfcb767603f9ab1a4621ee20db3

say() { printf '%s\n' "$*" >&2; }

sha() { # BITS
  if command -v "sha$1sum" >/dev/null; then "sha$1sum"; else shasum -a "$1"; fi | cut -d' ' -f1
}

cache=${STEM_TOOL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stem/tools}
key=$({
  cat tool/quality/tools.mod tool/quality/tools.sum
  printf '%s\n' "${go_tools[@]}" "$goose_tags" "$squawk_version" "$squawk_linux_x64"
  go env GOVERSION GOOS GOARCH
} | sha 256 | cut -c1-16)
bin=$cache/$key/bin

case ${1:-} in
--print-bin)
  printf '%s\n' "$bin"
  exit
  ;;
'') ;;
*)
  say "install_tools.sh: unknown argument $1"
  exit 64
  ;;
esac

mkdir -p "$bin"

build_go_tool() { # PACKAGE
  local name=${1##*/} started=$SECONDS tags=()
  [[ -x $bin/$name ]] && return
  [[ $name == goose ]] && tags=(-tags "$goose_tags")
  say "tools: building $name"
  # CGO off: sqlc then takes its parser as WebAssembly and needs no C compiler. The rename makes two runs at once safe.
  CGO_ENABLED=0 nice -n 10 go build -modfile=tool/quality/tools.mod -trimpath -buildvcs=false -ldflags '-s -w' \
    "${tags[@]+"${tags[@]}"}" -o "$bin/.$name.$$" "$1"
  mv "$bin/.$name.$$" "$bin/$name"
  say "tools: built $name in $((SECONDS - started)) s"
}

install_squawk() {
  local started=$SECONDS dir platform
  [[ -x $bin/squawk ]] && return
  if ! command -v npm >/dev/null; then
    say "tools: squawk comes from npm, and there is no npm: install nodejs and npm"
    return 1
  fi
  case "$(go env GOOS)/$(go env GOARCH)" in
  linux/amd64) platform=linux-x64 ;;
  linux/arm64) platform=linux-arm64 ;;
  darwin/amd64) platform=darwin-x64 ;;
  darwin/arm64) platform=darwin-arm64 ;;
  *)
    say "tools: squawk has no binary for $(go env GOOS)/$(go env GOARCH)"
    return 1
    ;;
  esac
  dir=$(mktemp -d "$bin/.squawk.XXXXXX")
  (
    cd "$dir"
    npm pack --silent "@squawk-cli/$platform@$squawk_version" >/dev/null
    mv ./*.tgz package.tgz
    if [[ $platform == linux-x64 && $(sha 512 <package.tgz) != "$squawk_linux_x64" ]]; then
      say "tools: squawk $squawk_version is not the package that install_tools.sh pins: sha512 differs"
      exit 1
    fi
    tar xzf package.tgz package/bin/squawk
    chmod 0755 package/bin/squawk
  ) || {
    rm -rf "$dir"
    return 1
  }
  mv "$dir/package/bin/squawk" "$bin/squawk"
  rm -rf "$dir"
  say "tools: installed squawk in $((SECONDS - started)) s"
}

for tool in "${go_tools[@]}"; do
  build_go_tool "$tool"
done
install_squawk

printf '%s\n' "$bin"
