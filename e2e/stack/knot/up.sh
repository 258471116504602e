#!/usr/bin/env bash
# Knot DNS on loopback. usage: up.sh ROOT PORT     nameserver.sh says the rest
set -euo pipefail
# shellcheck source=e2e/stack/nameserver.sh
. "$(dirname "$0")/../nameserver.sh"
arguments knotd knot "$@"
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
start "$SERVER" -c "$ROOT/knot.conf"
