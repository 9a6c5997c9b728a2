#!/bin/sh
# Section 1 of the production checklist with the stem command alone: signing is set up as it says, and then the key is rotated while
# producers enqueue. TestRotation runs this in an empty directory with tasks.yaml in it; STEM_DATABASE_URL names the database.
#
#   rotation.sh checklist   in the checklist's own order: both keys and the new active one at once, then the workers
#   rotation.sh careful     in that of docs/guides/runbook-key-rotation.md: nobody signs with v2 before every worker accepts it
set -eu
order=$1

say() { echo "rotation: $*" >&2; }

# A deployment gives each kind of process its environment in a file; whoever starts reads it.
configure() { # FILE KEYS ACTIVE
  cat >"$1.new" <<EOF
export STEM_SIGNING_ALGORITHM=hmac-sha256
export STEM_SIGNING_KEYS="$2"
export STEM_SIGNING_ACTIVE_KEY=$3
EOF
  mv "$1.new" "$1"
}

start() { # NODE
  (
    # shellcheck source=/dev/null
    . ./worker.env
    exec stem worker run --tasks-file tasks.yaml --node "$1" --concurrency 4 2>>"$1.log"
  ) &
  echo $! >"$1.pid"
  until operator signing status 2>/dev/null | grep -q "^$1 "; do sleep 0.05; done
}

restart() { # NODE: as a supervisor does, SIGTERM and a clean drain before the new one
  kill -TERM "$(cat "$1.pid")"
  wait "$(cat "$1.pid")"
  start "$1"
  say "$1 restarted"
}

operator() {
  (
    # shellcheck source=/dev/null
    . ./producer.env
    exec stem "$@"
  )
}

produce() { # NAME
  while [ ! -e stop ]; do
    operator enqueue tick -o name >>"$1.ids" || echo "$1: exit $?" >>failures
  done
}

new_environment() { # until each producer has ended the call that it was in: none is on its way with what producer.env was before
  for name in one two library; do
    before=$(wc -l <"$name.ids")
    until [ "$(wc -l <"$name.ids")" -gt "$before" ]; do sleep 0.1; done
  done
}

waiting() { # KEY: jobs that it signed and that have not ended
  operator signing usage -o csv | awk -F , -v key="$1" '$1 == key { n += $7 + $8 + $9 } END { print n + 0 }'
}

done_more() { # so much must be done before the next step, as a sign that nothing stands still
  want=$(($(operator job ls --state completed --limit 10000 -o name | wc -l) + 20))
  until [ "$(operator job ls --state completed --limit 10000 -o name | wc -l)" -ge "$want" ]; do sleep 0.1; done
}

# The three exports, verbatim.
export STEM_SIGNING_ALGORITHM=hmac-sha256
# shellcheck disable=SC2155 # it is the checklist's line
export STEM_SIGNING_KEYS="v1:$(openssl rand -base64 32)"
export STEM_SIGNING_ACTIVE_KEY=v1
v1=$STEM_SIGNING_KEYS
stem enqueue tick --args '{"first":true}' -o name >first.ids
stem worker run --tasks-file tasks.yaml --node first 2>first.log &
first=$!
stem job wait "$(cat first.ids)" >/dev/null
kill -TERM "$first"
wait "$first"
unset STEM_SIGNING_ALGORITHM STEM_SIGNING_KEYS STEM_SIGNING_ACTIVE_KEY

configure producer.env "$v1" v1
configure worker.env "$v1" v1
start web1
start web2
produce one &
one=$!
produce two &
two=$!
done_more
operator signing status >/dev/null
say "signed with v1"

v2="v2:$(openssl rand -base64 32)"
case $order in
checklist)
  configure worker.env "$v1,$v2" v2
  configure producer.env "$v1,$v2" v2
  if operator signing status >/dev/null 2>&1; then
    say "status is content although no worker knows v2"
    exit 1
  fi
  restart web1
  done_more
  restart web2
  ;;
careful)
  configure worker.env "$v1,$v2" v1
  configure producer.env "$v1,$v2" v1
  restart web1
  if operator signing status --key v2 >/dev/null 2>&1; then
    say "status is content although web2 does not know v2"
    exit 1
  fi
  restart web2
  operator signing status --key v2 >/dev/null
  configure producer.env "$v1,$v2" v2
  ;;
esac
operator signing status >/dev/null
done_more
new_environment
until [ "$(waiting v1)" = 0 ]; do sleep 0.1; done
say "v1 is used up"

configure worker.env "$v2" v2
restart web1
done_more
restart web2
configure producer.env "$v2" v2
operator signing status >/dev/null
done_more
say "v1 is removed"

touch stop
wait "$one"
wait "$two"
until [ "$(waiting v2)" = 0 ]; do sleep 0.1; done
operator signing verify
operator dlq list
for node in web1 web2; do
  kill -TERM "$(cat $node.pid)"
  wait "$(cat $node.pid)"
done
