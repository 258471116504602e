#!/usr/bin/env bash
# PowerDNS Authoritative with SQLite on loopback, everything in one folder.
#
#   up.sh ROOT PORT_BASE     DNS on PORT_BASE, HTTP API on PORT_BASE+1; writes ROOT/env with PDNS_API, PDNS_DNS, PDNS_KEY
#
# PDNS_ADDRESS (default 127.0.0.1) is where it answers DNS, PDNS_API_PORT another port for the API, PDNS_UPDATES=yes lets it
# take dynamic updates (which keys for which zone is set by the API). Ended by down.sh ROOT. Needs (Debian 12):
#   apt-get install -y pdns-server pdns-backend-sqlite3 sqlite3 curl openssl
set -euo pipefail
if [ $# -ne 2 ]; then echo "usage: up.sh ROOT PORT_BASE" >&2; exit 2; fi
mkdir -p "$1"
ROOT="$(cd "$1" && pwd)"; DNS_PORT="$2"; API_PORT="${PDNS_API_PORT:-$(($2 + 1))}"; ADDRESS="${PDNS_ADDRESS:-127.0.0.1}"
PDNS="$(PATH="$PATH:/usr/sbin:/sbin" command -v pdns_server)" || { echo "pdns_server is not installed: apt-get install pdns-server pdns-backend-sqlite3" >&2; exit 1; }

# A key of its own for each run: a test that finds it in a log has found a leak.
KEY="$(openssl rand -hex 16)"
DB="$ROOT/pdns.sqlite3"
if [ ! -f "$DB" ]; then
  SCHEMA=""
  for f in /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql /usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql; do
    [ -f "$f" ] && SCHEMA="$f" && break
  done
  [ -n "$SCHEMA" ] || { echo "the SQLite schema of PowerDNS is not installed: apt-get install pdns-backend-sqlite3" >&2; exit 1; }
  sqlite3 "$DB" < "$SCHEMA"
  sqlite3 "$DB" "PRAGMA journal_mode=WAL;" > /dev/null
fi

# No caches: what the API wrote is what the next DNS answer shows.
(umask 077; cat > "$ROOT/pdns.conf" <<CONF
daemon=no
guardian=no
write-pid=no
launch=gsqlite3
gsqlite3-database=$DB
gsqlite3-pragma-synchronous=1
gsqlite3-pragma-foreign-keys=yes
gsqlite3-dnssec=yes
local-address=$ADDRESS
local-port=$DNS_PORT
socket-dir=$ROOT
dnsupdate=${PDNS_UPDATES:-no}
allow-dnsupdate-from=127.0.0.0/8
webserver=yes
webserver-address=127.0.0.1
webserver-port=$API_PORT
webserver-allow-from=127.0.0.1
webserver-loglevel=none
api=yes
api-key=$KEY
default-soa-content=ns1.@ hostmaster.@ 0 10800 3600 604800 60
zone-cache-refresh-interval=0
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
security-poll-suffix=
loglevel=4
CONF
)
setsid "$PDNS" --config-dir="$ROOT" > "$ROOT/log" 2>&1 < /dev/null &
PID=$!
echo "$PID" > "$ROOT/pid"
# shellcheck source=e2e/stack/lib.sh
. "$(dirname "$0")/../lib.sh"
end_with_owner "$PID" "--config-dir=$ROOT"
(umask 077; cat > "$ROOT/env" <<ENV
PDNS_API=http://127.0.0.1:$API_PORT
PDNS_DNS=$ADDRESS:$DNS_PORT
PDNS_KEY=$KEY
ENV
)

for _ in $(seq 1 200); do
  # Both doors: the API (the key goes in by standard input, not by the command line) and DNS over TCP.
  if printf 'header = "X-API-Key: %s"\n' "$KEY" | curl -sf -o /dev/null -K - "http://127.0.0.1:$API_PORT/api/v1/servers/localhost" 2>/dev/null \
    && (exec 3<> "/dev/tcp/$ADDRESS/$DNS_PORT") 2>/dev/null; then
    exit 0
  fi
  if ! kill -0 "$PID" 2>/dev/null; then echo "PowerDNS ended while starting:" >&2; tail -5 "$ROOT/log" >&2; exit 1; fi
  sleep 0.05
done
echo "PowerDNS did not answer within 10 s" >&2
"$(dirname "$0")/down.sh" "$ROOT"
exit 1
