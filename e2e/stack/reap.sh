#!/usr/bin/env bash
# usage: reap.sh ROOT PID      waits until PID has ended, then ends the stack of ROOT
# A test binary may panic, be killed, or just return from main: only somebody outside sees each of these.
# The folder goes too, unless KEEP_ROOT=1 or the file ROOT/keep says that somebody wants to look at it.
set -u
HERE="$(cd "$(dirname "$0")" && pwd)"
cd /
born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
since=$(born "$2")
while [ -n "$since" ] && [ "$(born "$2")" = "$since" ]; do sleep 0.5; done
"$HERE/down.sh" "$1"
[ -n "${KEEP_ROOT:-}" ] || [ -e "$1/keep" ] || rm -rf "$1"
