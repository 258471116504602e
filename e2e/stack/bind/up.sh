#!/usr/bin/env bash
# BIND on loopback. usage: up.sh ROOT PORT     nameserver.sh says the rest
set -euo pipefail
# shellcheck source=e2e/stack/nameserver.sh
. "$(dirname "$0")/../nameserver.sh"
arguments named bind9 "$@"
keys

(umask 077; cat > "$ROOT/named.conf" <<CONF
key "mailtenant." { algorithm hmac-sha256; secret "$KEY"; };
key "owner." { algorithm hmac-sha256; secret "$OWNER_KEY"; };
options {
  directory "$ROOT"; pid-file none; session-keyfile none; lock-file none;
  listen-on port $PORT { $ADDRESS; }; listen-on-v6 { none; };
  recursion no; allow-query { any; }; allow-transfer { key "owner."; };
  dnssec-validation no; notify no;
};
controls { };
CONF
for zone in "${ZONES[@]}"; do cat >> "$ROOT/named.conf" <<CONF
zone "$zone" {
  type primary; file "$ROOT/zones/$zone.zone"; journal "$ROOT/zones/$zone.jnl";
  update-policy { grant mailtenant. zonesub MX TXT SRV CNAME; grant owner. zonesub ANY; };
};
CONF
done
)
start "$SERVER" -g -c "$ROOT/named.conf" -n 1
