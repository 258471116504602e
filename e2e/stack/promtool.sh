#!/usr/bin/env bash
# Takes promtool out of the Debian package prometheus, which is not installed: it would bring a server. Puts it into
# $MAILTENANT_CACHE/bin (default ~/.cache/mailtenant/bin), once, and prints the path. One on PATH goes first.
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
if command -v promtool; then exit 0; fi
OUT="$MAILTENANT_CACHE/bin"
mkdir -p "$OUT"
exec 9>"$MAILTENANT_CACHE/promtool.lock"
flock 9
if [ ! -x "$OUT/promtool" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; } >&2 9>&-
  dpkg -x prometheus_*.deb unpacked
  mv unpacked/usr/bin/promtool "$OUT/promtool"
fi
echo "$OUT/promtool"
