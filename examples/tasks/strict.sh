#!/bin/sh
# Refuses bad input: exit status 65 sends the job to the dead letters, since another attempt would end the same.
set -eu

amount=$(tr '\n' ' ' | sed -nE 's/^.*"amount"[[:space:]]*:[[:space:]]*([0-9]+)[[:space:]]*[,}].*$/\1/p')
if [ -z "$amount" ]; then
  echo 'strict: want {"amount":n}, a whole number' >&2
  exit 65
fi
printf '{"accepted":%s}\n' "$amount"
