#!/usr/bin/env bash
# Takes promtool and prometheus out of the Debian package prometheus, which is not installed: it would start a server. Puts
# them into $MAILTENANT_CACHE/bin (default ~/.cache/mailtenant/bin), once, and prints the path of promtool; prometheus is
# beside it. Those on PATH go first, if both are there.
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
if command -v prometheus >/dev/null && command -v promtool; then exit 0; fi
OUT="$MAILTENANT_CACHE/bin"
mkdir -p "$OUT"
exec 9>"$MAILTENANT_CACHE/promtool.lock"
flock 9
if [ ! -x "$OUT/promtool" ] || [ ! -x "$OUT/prometheus" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; } >&2 9>&-
  dpkg -x prometheus_*.deb unpacked
  # Renamed into place: somebody may be running one.
  for name in promtool prometheus; do mv "unpacked/usr/bin/$name" "$OUT/$name"; done
fi
echo "$OUT/promtool"
