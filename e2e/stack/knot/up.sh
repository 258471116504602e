#!/usr/bin/env bash
# Knot DNS on loopback, everything in one folder. Each file ROOT/zones/NAME.zone is a zone that takes dynamic updates.
#
#   up.sh ROOT PORT     writes ROOT/env with NS_DNS, NS_KEY (the secret of the key `mailtenant.`) and NS_OWNER (a file for dig and nsupdate)
#
# NS_ADDRESS (default 127.0.0.1) is where it answers. The key `mailtenant.` has the rights that docs/dns-rfc2136.md asks
# for, the key `owner.` all of them and AXFR. Ended by nameserver-down.sh ROOT. Needs (Debian 12): apt-get install -y knot openssl
set -euo pipefail
if [ $# -ne 2 ]; then echo "usage: up.sh ROOT PORT" >&2; exit 2; fi
mkdir -p "$1/zones"
ROOT="$(cd "$1" && pwd)"; PORT="$2"; ADDRESS="${NS_ADDRESS:-127.0.0.1}"
KNOTD="$(PATH="$PATH:/usr/sbin:/sbin" command -v knotd)" || { echo "knotd is not installed: apt-get install knot" >&2; exit 1; }
# shellcheck source=e2e/stack/nameserver.sh
. "$(dirname "$0")/../nameserver.sh"
keys
mkdir -p "$ROOT/run" "$ROOT/db"

(umask 077; cat > "$ROOT/knot.conf" <<CONF
server:
  rundir: "$ROOT/run"
  listen: $ADDRESS@$PORT
  udp-workers: 1
  tcp-workers: 2
  background-workers: 1
log:
  - target: stdout
    any: info
database:
  storage: "$ROOT/db"
  # Knot reserves address space for each: the defaults are 20 GiB and more.
  journal-db-max-size: 64M
  kasp-db-max-size: 8M
  timer-db-max-size: 8M
key:
  - id: mailtenant.
    algorithm: hmac-sha256
    secret: $KEY
  - id: owner.
    algorithm: hmac-sha256
    secret: $OWNER_KEY
acl:
  - id: mailtenant
    key: mailtenant.
    action: update
    update-type: [MX, TXT, SRV, CNAME]
  - id: owner
    key: owner.
    action: [transfer, update]
template:
  - id: default
    storage: "$ROOT/zones"
    file: "%s.zone"
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
    acl: [mailtenant, owner]
zone:
CONF
for zone in "${ZONES[@]}"; do echo "  - domain: $zone" >> "$ROOT/knot.conf"; done
)
start "$KNOTD" -c "$ROOT/knot.conf"
