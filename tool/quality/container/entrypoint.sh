# shellcheck shell=bash
# The entry point of the image of image.sh, which puts the first lines before this. It keeps to what testcontainers-go
# relies on in the official image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, the server's own arguments, and the
# line "ready to accept connections" twice, from a server that only prepares and from the one that stays.
set -euo pipefail

data=/var/lib/postgresql/data
as_postgres=(setpriv --reuid=999 --regid=999 --clear-groups env HOME=/var/lib/postgresql)

: "${POSTGRES_USER:=postgres}" "${POSTGRES_PASSWORD:?is not set}"
: "${POSTGRES_DB:=$POSTGRES_USER}"

mkdir -p "$data" /var/run/postgresql
chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
chmod 700 "$data"

password=/tmp/password
(umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >"$password")
chown postgres:postgres "$password"
"${as_postgres[@]}" initdb --no-sync --locale=C --encoding=UTF8 --username="$POSTGRES_USER" --pwfile="$password" \
  --auth-local=trust --auth-host=scram-sha-256 "$data"
printf 'host all all all scram-sha-256\n' >>"$data/pg_hba.conf"

"${as_postgres[@]}" pg_ctl -D "$data" -w -o "-c listen_addresses= -c unix_socket_directories=/var/run/postgresql" start
"${as_postgres[@]}" pg_ctl -D "$data" -w -m fast stop
if [[ $POSTGRES_DB != postgres ]]; then
  # The programs of Postgres that every package has are three; a client is none of them.
  printf 'create database "%s"\n' "${POSTGRES_DB//\"/\"\"}" | "${as_postgres[@]}" postgres --single -D "$data" postgres
fi

if [[ ${1:-} == postgres ]]; then shift; fi
exec "${as_postgres[@]}" postgres -D "$data" -c 'listen_addresses=*' -c unix_socket_directories=/var/run/postgresql "$@"
