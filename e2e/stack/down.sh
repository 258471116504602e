#!/usr/bin/env bash
# usage: down.sh ROOT      ends what up.sh started, each process by its id; data and logs stay
set -uo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/lib.sh"
ROOT="$(cd "$1" && pwd)" || exit 1
[ ! -f "$ROOT/pids.also" ] || while read -r pid word; do end_pid "$pid" "$word"; done <"$ROOT/pids.also"
for part in groupware/gw powerdns/dns controlplane/k8s; do
  [ -d "$ROOT/${part#*/}" ] && "$HERE/${part%/*}/down.sh" "$ROOT/${part#*/}"
done
rm -f "$ROOT/pids.stack"
free_ports "$ROOT"
