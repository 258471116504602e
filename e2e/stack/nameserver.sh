# shellcheck shell=bash
# Sourced by bind/up.sh and knot/up.sh, which set ROOT, PORT and ADDRESS.
# shellcheck disable=SC2153  # that they are other names than lib.sh has is right

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
  local pid=$! here
  echo "$pid" >"$ROOT/pid"
  here="$(dirname "${BASH_SOURCE[0]}")"
  # shellcheck source=e2e/stack/lib.sh
  . "$here/lib.sh"
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
  "$here/nameserver-down.sh" "$ROOT"
  exit 1
}
