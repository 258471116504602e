#!/usr/bin/env bash
# Ends the server that bind/up.sh ROOT or knot/up.sh ROOT started: the process it wrote down, and only if it still is that one.
#
#   nameserver-down.sh ROOT
set -euo pipefail
if [ $# -ne 1 ]; then echo "usage: nameserver-down.sh ROOT" >&2; exit 2; fi
[ -f "$1/pid" ] || exit 0
. "$(dirname "$0")/lib.sh"
ROOT="$(cd "$1" && pwd)"
end_pid "$(cat "$ROOT/pid")" "-c $ROOT/"
rm -f "$ROOT/pid"
