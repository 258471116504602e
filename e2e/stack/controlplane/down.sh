#!/usr/bin/env bash
# usage: down.sh ROOT      ends what up.sh started, newest first, each by its id; data stays
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/../lib.sh"
[ -f "$1/pids" ] || exit 0
tac "$1/pids" | while read -r pid name; do end_pid "$pid" "$name"; done
rm -f "$1/pids"
