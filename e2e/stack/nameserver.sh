# shellcheck shell=bash
# Sourced by bind/up.sh and knot/up.sh: a name server on loopback, everything in one folder. Each file ROOT/zones/NAME.zone is
# a zone that takes dynamic updates.
#
#   up.sh ROOT PORT     writes ROOT/env with NS_DNS, NS_KEY (the secret of the key `mailtenant.`) and NS_OWNER (a file for dig and nsupdate)
#
# NS_ADDRESS (default 127.0.0.1) is where it answers. The key `mailtenant.` has the rights that docs/dns-rfc2136.md asks
# for, the key `owner.` all of them and AXFR. Ended by nameserver-down.sh ROOT; with OWNER_PID, once that process has ended.
# Needs (Debian 12): apt-get install -y openssl dnsutils, and the server's package
STACK="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=e2e/stack/lib.sh
. "$STACK/lib.sh"

# arguments COMMAND PACKAGE ROOT PORT: sets ROOT, PORT, ADDRESS, and SERVER, the path of the command.
arguments() {
  if [ $# -ne 4 ]; then echo "usage: up.sh ROOT PORT" >&2; exit 2; fi
  mkdir -p "$3/zones"
  ROOT="$(cd "$3" && pwd)"; PORT="$4"; ADDRESS="${NS_ADDRESS:-127.0.0.1}"
  # shellcheck disable=SC2034  # used by the script that sources this
  SERVER="$(command -v "$1")" || { echo "$1 is not installed: apt-get install $2" >&2; exit 1; }
}

# Keys of their own for each run, and the names of the zones.
keys() {
  # shellcheck disable=SC2034  # used by the script that sources this
  local file
  KEY="$(openssl rand -base64 32)" OWNER_KEY="$(openssl rand -base64 32)" ZONES=()
  for file in "$ROOT"/zones/*.zone; do
    [ -e "$file" ] || { echo "no zone in $ROOT/zones" >&2; exit 2; }
    ZONES+=("$(basename "$file" .zone)")
  done
}

# start COMMAND...: starts the server, writes ROOT/env and waits until it answers.
start() {
  setsid "$@" >"$ROOT/log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$ROOT/pid"
  end_with_owner "$pid" "-c $ROOT/"
  (umask 077; cat >"$ROOT/env" <<ENV
NS_DNS=$ADDRESS:$PORT
NS_KEY=$KEY
NS_OWNER=$ROOT/owner.key
ENV
    printf 'key "owner." { algorithm hmac-sha256; secret "%s"; };\n' "$OWNER_KEY" >"$ROOT/owner.key"
  )
  for _ in $(seq 1 200); do
    # All zones are loaded: the last one answers with its SOA.
    if dig +tcp +short +time=1 +tries=1 "@$ADDRESS" -p "$PORT" "${ZONES[-1]}" SOA 2>/dev/null | grep -q '^[^;]'; then return 0; fi
    if ! kill -0 "$pid" 2>/dev/null; then echo "$1 ended while starting:" >&2; tail -5 "$ROOT/log" >&2; exit 1; fi
    sleep 0.05
  done
  echo "$1 did not answer within 10 s:" >&2; tail -5 "$ROOT/log" >&2
  "$STACK/nameserver-down.sh" "$ROOT"
  exit 1
}
