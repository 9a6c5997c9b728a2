#!/bin/sh
# Is not ready yet for the first attempts, as many as the argument says: exit status 75 puts the job back, uncharged.
set -eu

if [ "${STEM_ATTEMPT:-1}" -le "${1:-2}" ]; then
  echo "patient: not ready in attempt ${STEM_ATTEMPT:-1}" >&2
  exit 75
fi
echo '{"ready":true}'
