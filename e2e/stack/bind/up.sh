#!/usr/bin/env bash
# BIND on loopback, everything in one folder. Each file ROOT/zones/NAME.zone is a zone that takes dynamic updates.
#
#   up.sh ROOT PORT     writes ROOT/env with NS_DNS, NS_KEY (the secret of the key `mailtenant.`) and NS_OWNER (a file for dig and nsupdate)
#
# NS_ADDRESS (default 127.0.0.1) is where it answers. The key `mailtenant.` has the rights that docs/dns-rfc2136.md asks
# for, the key `owner.` all of them and AXFR. Ended by nameserver-down.sh ROOT. Needs (Debian 12): apt-get install -y bind9 openssl
set -euo pipefail
if [ $# -ne 2 ]; then echo "usage: up.sh ROOT PORT" >&2; exit 2; fi
mkdir -p "$1/zones"
ROOT="$(cd "$1" && pwd)"; PORT="$2"; ADDRESS="${NS_ADDRESS:-127.0.0.1}"
NAMED="$(PATH="$PATH:/usr/sbin:/sbin" command -v named)" || { echo "named is not installed: apt-get install bind9" >&2; exit 1; }
# shellcheck source=e2e/stack/nameserver.sh
. "$(dirname "$0")/../nameserver.sh"
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
start "$NAMED" -g -c "$ROOT/named.conf" -n 1
