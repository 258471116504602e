#!/usr/bin/env bash
# Ends the PowerDNS that up.sh ROOT started: the process it wrote down, and only if it still is that one.
#
#   down.sh ROOT
set -euo pipefail
if [ $# -ne 1 ]; then echo "usage: down.sh ROOT" >&2; exit 2; fi
[ -f "$1/pid" ] || exit 0
ROOT="$(cd "$1" && pwd)"; PID="$(cat "$ROOT/pid")"
if tr '\0' '\n' < "/proc/$PID/cmdline" 2>/dev/null | grep -qxF -- "--config-dir=$ROOT"; then
  kill "$PID" 2>/dev/null || true
  for _ in $(seq 1 100); do kill -0 "$PID" 2>/dev/null || break; sleep 0.05; done
  if kill -0 "$PID" 2>/dev/null; then kill -9 "$PID" 2>/dev/null || true; fi
fi
rm -f "$ROOT/pid"
