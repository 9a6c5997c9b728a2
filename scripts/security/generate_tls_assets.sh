#!/usr/bin/env bash
# Makes a certificate authority, a certificate for a Postgres server and one for its clients, and prints what to do with
# them: the variables to export and the settings of the server.
#
#   generate_tls_assets.sh --out DIRECTORY [options]
#
#   --out DIR        where the files go: ca.pem ca-key.pem server.pem server-key.pem client.pem client-key.pem (.certs)
#   --host HOST      the server's name or IP address, as the URL will say it (localhost); the first is the main one
#   --san HOST       another name or address; both may be given again, and take lists with commas
#   --days N         how long the certificates are valid (365)
#   --client-cn CN   the common name of the client's certificate: the database role that it is for (stem-client)
#   --force          replace what is there; without it a second run changes nothing
#
# Without --host the certificate is for localhost, 127.0.0.1 and ::1. The older form is understood too:
#
#   generate_tls_assets.sh [DIRECTORY [HOST [NAMES,WITH,COMMAS]]]      with DAYS and CLIENT_CN in the environment
#
# Keys are ECDSA on P-256, readable by their owner alone. Whoever has ca-key.pem can be your database: keep it off the
# machines that use the rest. The output is a shell script: eval "$(generate_tls_assets.sh --out DIR)" sets the variables.
# Needs openssl. Works with the bash 3.2 and the LibreSSL of macOS.
set -euf -o pipefail # names may hold a *
umask 077

out="" host="" names="" days=${DAYS:-365} client_cn=${CLIENT_CN:-stem-client} force=false work=""

say() { printf 'generate_tls_assets: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 64
}
usage() { sed -n '2,/^set -euf/{/^set -euf/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; }
clean_up() { if [ -n "$work" ]; then rm -rf "$work"; fi; }
trap clean_up EXIT

# add_host HOST[,HOST...]: the first one is the main one.
add_host() {
  local one
  for one in ${1//,/ }; do
    case $one in
    *[!A-Za-z0-9.:*_-]* | -* | .*) die "host \"$one\": want a DNS name or an IP address" ;;
    esac
    host=${host:-$one}
    names="$names $one"
  done
}

parse() {
  local positional=0
  while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --force)
      force=true
      shift
      continue
      ;;
    --out=* | --host=* | --san=* | --days=* | --client-cn=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case $1 in
    --out | --host | --san | --days | --client-cn)
      if [ $# -lt 2 ] || [ -z "$2" ]; then die "$1 needs a value"; fi
      ;;
    esac
    case $1 in
    --out) out=$2 ;;
    --host | --san) add_host "$2" ;;
    --days) days=$2 ;;
    --client-cn) client_cn=$2 ;;
    -*) die "unknown flag $1; see --help" ;;
    *)
      positional=$((positional + 1))
      case $positional in
      1) out=$1 ;;
      2 | 3) add_host "$1" ;;
      *) die "too many arguments: $1; see --help" ;;
      esac
      shift
      continue
      ;;
    esac
    shift 2
  done
  if [ $positional = 1 ]; then add_host stem.local; fi # as the older script did
  if [ -z "$names" ]; then add_host localhost,127.0.0.1,::1; fi
  out=${out:-.certs}
  case $days in
  "" | *[!0-9]* | 0* | ??????*) die "--days: want an integer from 1 to 36500, got \"$days\"" ;;
  esac
  if [ "$days" -gt 36500 ]; then die "--days: want an integer from 1 to 36500, got \"$days\""; fi
  case $client_cn in
  "" | *[!A-Za-z0-9_.@-]*) die "--client-cn: want letters, digits, _ . @ -, got \"$client_cn\"" ;;
  esac
  if [ ${#client_cn} -gt 63 ]; then die "--client-cn: longer than the name of a role can be (63)"; fi
}

files="ca.pem ca-key.pem server.pem server-key.pem client.pem client-key.pem"

# present: how many of the files are there.
present() {
  local n=0 f
  for f in $files; do
    if [ -e "$out/$f" ]; then n=$((n + 1)); fi
  done
  printf '%s' "$n"
}

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1-key.pem" 2>/dev/null; }

# subject_names: the hosts as openssl wants them.
subject_names() {
  local one list=""
  for one in $names; do
    case $one in
    *:*) list="$list,IP:$one" ;;
    *[!0-9.]*) list="$list,DNS:$one" ;;
    *) list="$list,IP:$one" ;;
    esac
  done
  printf '%s' "${list#,}"
}

# common_name NAME: a common name has room for 64 characters; nobody looks at a server's any more.
common_name() {
  if [ ${#1} -le 64 ]; then printf '%s' "$1"; else printf 'stem-server'; fi
}

# issue NAME COMMON-NAME EXTENSIONS: a key, and a certificate of the authority for it.
issue() {
  key "$1"
  printf '[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=%s\n' "$2" >"$work/$1.cnf"
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\n%s\n' "$3" >"$work/$1.ext"
  openssl req -new -key "$work/$1-key.pem" -config "$work/$1.cnf" -out "$work/$1.csr"
  openssl x509 -req -sha256 -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -days "$days" \
    -set_serial "0x01$(openssl rand -hex 15)" -extfile "$work/$1.ext" -out "$work/$1.pem" 2>/dev/null
}

generate() {
  local f
  work=$(mktemp -d "$out/.new.XXXXXX") # on the same file system, so that each file appears whole
  key ca
  # The name tells one run from another: who rotates has two of them in one file.
  cat >"$work/ca.cnf" <<CA
[req]
distinguished_name=dn
x509_extensions=ca
prompt=no
[dn]
CN=$(common_name "stem-ca $(date -u +%Y-%m-%d)-$(openssl rand -hex 3) $host")
[ca]
basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
CA
  openssl req -x509 -new -sha256 -key "$work/ca-key.pem" -config "$work/ca.cnf" -days "$days" \
    -set_serial "0x01$(openssl rand -hex 15)" -out "$work/ca.pem"
  issue server "$(common_name "$host")" "extendedKeyUsage=serverAuth
subjectAltName=$(subject_names)"
  issue client "$client_cn" "extendedKeyUsage=clientAuth"
  openssl verify -CAfile "$work/ca.pem" "$work/server.pem" "$work/client.pem" >/dev/null
  chmod 0644 "$work/ca.pem" "$work/server.pem" "$work/client.pem"
  for f in $files; do mv -f "$work/$f" "$out/$f"; done
}

main() {
  parse "$@"
  command -v openssl >/dev/null 2>&1 || {
    say "openssl is not installed"
    exit 69
  }
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  local there
  there=$(present)
  if [ "$force" = false ] && [ "$there" = 6 ]; then
    say "unchanged: $out has all six files, valid until $(openssl x509 -noout -enddate -in "$out/server.pem" | sed 's/notAfter=//'); --force replaces them"
    client_cn=$(openssl x509 -noout -subject -nameopt multiline -in "$out/client.pem" | sed -n 's/.*commonName *= //p')
  elif [ "$force" = false ] && [ "$there" != 0 ]; then
    say "$out has $there of the six files; --force replaces them"
    exit 1
  else
    generate
    say "wrote $files to $out, valid for $days days"
  fi
  cat <<RESULT
export STEM_TLS_CA_CERT=$(quoted "$out/ca.pem")
export STEM_TLS_CLIENT_CERT=$(quoted "$out/client.pem")
export STEM_TLS_CLIENT_KEY=$(quoted "$out/client-key.pem")

# The URL needs nothing but the host: sslmode becomes verify-full. For the server, postgresql.conf:
#
#   ssl = on
#   ssl_cert_file = '$out/server.pem'
#   ssl_key_file = '$out/server-key.pem'     # owned by the server's user, mode 0600
#   ssl_ca_file = '$out/ca.pem'              # whose client certificates it accepts
#
# and pg_hba.conf, where the common name of the client's certificate must be the role:
#
#   hostssl all $client_cn all scram-sha-256 clientcert=verify-full
RESULT
}

quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

main "$@"
