#!/usr/bin/env bash
# Runs the test of pgtest's container rung: testcontainers-go against a real engine, with an image of the Postgres that
# is on this machine.
#
#   run.sh                 with the engine of DOCKER_HOST or of the machine, else with podman
#   run.sh --engine podman with podman even where another engine answers
#
# podman is installed on Debian by root when it is missing. It runs in namespaces of its own: its network, the firewall
# chains that netavark leaves behind, its mounts, its storage in memory and all its processes go when the test
# ends. Nothing is pulled.
#
# Exit: 0 passed; 75 not run, the reason is the last line; else failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

here=tool/quality/container
image=localhost/stem-postgres:here
tests=TestContainer
work=""

not_run() {
  printf '%s\n' "$*"
  exit 75
}

# run_tests runs them with what was prepared in STEM_CONTAINER_WORK.
run_tests() {
  local rc=0 test
  (cd internal/pgtest && STEM_TEST_PG_IMAGE=$image STEM_TEST_REQUIRE_DB=1 "$STEM_CONTAINER_WORK/pgtest.test" \
    -test.v -test.timeout=2m -test.run="^($tests)\$") 2>&1 | tee "$STEM_CONTAINER_WORK/out" || rc=$?
  ((rc == 0)) || return "$rc"
  # A test that skips itself passes; here it must not.
  for test in ${tests//|/ }; do
    if ! grep -q "^--- PASS: $test " "$STEM_CONTAINER_WORK/out"; then
      printf 'an engine is there, and %s did not run\n' "$test"
      return 1
    fi
  done
}

# inside runs as the first process of its own namespaces.
inside() {
  local dir=$STEM_CONTAINER_WORK log
  log=$dir/podman.log
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  ip link set lo up
  # crun refuses hybrid cgroups, systemd and journald need not be there, and a container that is itself in one may not
  # raise its limits.
  cat >"$dir/containers.conf" <<END
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
END
  export CONTAINERS_CONF=$dir/containers.conf TMPDIR=$dir/tmp
  mkdir "$TMPDIR" "$dir/storage"
  # In memory: layers and data are 200 MB for half a minute, and overlay does not stand on another overlay.
  mount -t tmpfs tmpfs "$dir/storage"
  local podman=(podman --root "$dir/storage" --runroot "$dir/run" --storage-driver overlay)
  "${podman[@]}" system service --time=0 "unix://$dir/podman.sock" >"$log" 2>&1 &
  local service=$! rc=0
  # Where /.dockerenv exists testcontainers believes that it is in a container and dials the bridge's gateway.
  export DOCKER_HOST=unix://$dir/podman.sock TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1
  local tries=0
  until [[ -S $dir/podman.sock ]]; do
    if ! kill -0 "$service" 2>/dev/null || ((++tries > 200)); then
      cat "$log"
      not_run 'podman does not start here'
    fi
    sleep 0.05
  done
  "${podman[@]}" import --change 'ENTRYPOINT ["docker-entrypoint.sh"]' "$dir/image.tar" "$image" >/dev/null 2>>"$log"
  # A machine that forbids containers is no failure of ours. One that lets this pass has to let the test pass.
  if ! "${podman[@]}" run --rm --publish 127.0.0.1::5432 --entrypoint bash "$image" -c : >"$dir/probe" 2>&1; then
    tail -n 5 "$dir/probe"
    not_run 'no engine answers, and podman can run no container here'
  fi
  hide_postgres
  run_tests || rc=$?
  if ((rc != 0)); then tail -n 30 "$log"; fi
  kill "$service" 2>/dev/null || true
  wait "$service" || true
  return "$rc"
}

# hide_postgres leaves the container as the only rung of the ladder, so that the tests of databases run on it as well.
hide_postgres() {
  local dir
  mkdir "$STEM_CONTAINER_WORK/none"
  for dir in /usr/lib/postgresql /var/cache/stem/pg; do
    if [[ -d $dir ]]; then mount --bind "$STEM_CONTAINER_WORK/none" "$dir"; fi
  done
  unset STEM_PG_BIN STEM_TEST_DATABASE_URL STEM_TEST_PG_MAJOR
  export STEM_PG_CACHE=$STEM_CONTAINER_WORK/none STEM_PG_FETCH=never
  tests+='|TestEachTestHasAMigratedDatabaseOfItsOwn|TestTheDatabaseGoesWithTheTest|TestLoginMayCallFunctionsAndNothingElse'
}

ensure_podman() {
  local missing=() program
  for program in podman runc iptables ip unshare; do command -v "$program" >/dev/null || missing+=("$program"); done
  [[ -x /usr/lib/podman/netavark || -x /usr/libexec/podman/netavark ]] || missing+=(netavark)
  ((${#missing[@]} == 0)) && return
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    not_run "no engine answers, and without ${missing[*]} podman cannot be had (root on Debian installs it)"
  fi
  local packages=(podman runc netavark iptables iproute2 util-linux)
  printf 'apt-get install %s\n' "${packages[*]}"
  local install=(timeout 60 env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}")
  "${install[@]}" >"$work/apt.log" 2>&1 && return
  timeout 30 apt-get update -q >>"$work/apt.log" 2>&1 && "${install[@]}" >>"$work/apt.log" 2>&1 && return
  tail -n 5 "$work/apt.log"
  not_run 'no engine answers, and podman could not be installed'
}

with_podman() {
  ensure_podman
  if [[ $(id -u) != 0 ]]; then not_run 'no engine answers, and only root can run podman in a network of its own'; fi
  local own=(unshare --net --mount --pid --fork --kill-child --mount-proc)
  if ! "${own[@]}" true 2>"$work/unshare"; then
    cat "$work/unshare"
    not_run 'no engine answers, and this machine grants no namespaces for one'
  fi
  "${own[@]}" "${BASH_SOURCE[0]}" --inside
}

if [[ ${1:-} == --inside ]]; then
  inside
  exit
fi
if [[ $# != 0 && "$*" != '--engine podman' ]]; then
  printf 'unknown arguments %s; want none or --engine podman\n' "$*" >&2
  exit 64
fi
[[ $(uname -s) == Linux ]] || not_run 'the image is made of Linux programs'

work=$(mktemp -d "${TMPDIR:-/tmp}/stem-container-XXXXXX")
trap 'rm -rf "$work"' EXIT
export STEM_CONTAINER_WORK=$work
engine=podman
if [[ $# == 0 ]] && command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; then engine=docker; fi
if [[ $engine == podman ]]; then ensure_podman; fi

bin=$(scripts/dev/ensure-postgres.sh --print-bin) || not_run 'there is no Postgres to make an image of'
"$here/image.sh" "$bin" >"$work/image.tar"
go test -c -o "$work/pgtest.test" ./internal/pgtest
printf 'engine: %s; image: %s, %d MB\n' "$engine" "$("$bin/postgres" --version)" $(($(stat -c %s "$work/image.tar") >> 20))
if [[ $engine == podman ]]; then
  with_podman
else
  docker import --change 'ENTRYPOINT ["docker-entrypoint.sh"]' "$work/image.tar" "$image" >/dev/null
  trap 'docker rmi "$image" >/dev/null || true; rm -rf "$work"' EXIT
  run_tests
fi
