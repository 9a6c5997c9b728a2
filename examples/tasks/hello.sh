#!/bin/sh
# Greets. The name stays in its JSON form, from quote to quote, so that nothing in it needs escaping or can escape.
set -eu

name=$(tr '\n' ' ' | sed -nE 's/^.*"name"[[:space:]]*:[[:space:]]*"(([^"\\]|\\.)*)".*$/\1/p')
if [ -z "$name" ]; then
  echo 'hello: want {"name":"..."}' >&2
  exit 65
fi
printf '{"greeting":"Hello, %s"}\n' "$name"
