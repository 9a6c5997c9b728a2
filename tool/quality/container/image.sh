#!/usr/bin/env bash
# Writes a container image's root file system to stdout as a tar: the Postgres that is on this machine, and what its
# entry point calls. So the container rung needs no registry.
#
#   image.sh BINDIR | podman import --change 'ENTRYPOINT ["docker-entrypoint.sh"]' - NAME
#
# BINDIR is what ensure-postgres.sh --print-bin prints. The libraries are found with ldd: Linux only.
set -euo pipefail

if (($# != 1)) || [[ ! -x $1/postgres || ! -x $1/initdb ]]; then
  printf 'usage: %s BINDIR; want a directory with postgres and initdb, got "%s"\n' "${0##*/}" "${1:-}" >&2
  exit 64
fi
bin=$(cd "$1" && pwd -P)
home=$(dirname "$bin") # the programs find their files relative to themselves
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

# On a merged /usr a library has two names; the image has one directory for both.
mkdir -p "$root"/usr/{bin,lib,lib64,local/bin} "$root"/{etc,root,proc,sys,dev} "$root/var/run/postgresql" "$root/var/lib/postgresql"
for dir in bin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
mkdir -m 1777 "$root/tmp"

# put FILE...: copies files to the same place, whatever directories are links.
put() {
  local file
  for file in "$@"; do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
  done
}

programs=()
for name in bash env id chown chmod mkdir cat touch setpriv; do programs+=("$(command -v "$name")"); done
put "${programs[@]}"
ln -sf bash "$root/usr/bin/sh"

mkdir -p "$root$home"
cp -a "$bin" "$root$home/"
if [[ -d $home/lib ]]; then
  mkdir "$root$home/lib"
  tar -C "$home/lib" --exclude=bitcode --exclude='llvmjit*' -c . | tar -C "$root$home/lib" -x
fi
if [[ -d $home/share ]]; then cp -a "$home/share" "$root$home/"; fi
# Debian's build keeps the rest where Debian wants it.
for dir in "/usr/share/postgresql/${home##*/}" /usr/share/zoneinfo; do
  if [[ -d $dir ]]; then
    mkdir -p "$root$dir"
    cp -a "$dir/." "$root$dir/"
  fi
done

libraries=()
mapfile -t libraries < <(
  find "$bin" "$home/lib" -type f \( -perm -u+x -o -name '*.so*' \) ! -path '*bitcode*' ! -name 'llvmjit*' -print0 |
    xargs -0 ldd "${programs[@]}" 2>/dev/null | grep -oE '/[^ ]+\.so[^ )]*' | grep -v ':$' | sort -u
)
for file in "${libraries[@]}"; do
  if [[ -e $file && ! -e $root$file ]]; then put "$file"; fi
done

cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/usr/bin/bash
postgres:x:999:999:Postgres:/var/lib/postgresql:/usr/bin/bash
END
printf 'root:x:0:\npostgres:x:999:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
printf '#!/usr/bin/bash\nPATH=%q:/usr/bin\n' "$bin" | cat - "$here/entrypoint.sh" >"$root/usr/local/bin/docker-entrypoint.sh"
chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"

tar -C "$root" --owner=0 --group=0 -c .
