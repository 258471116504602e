#!/usr/bin/env bash
# Starts everything that mailtenant is seen working against, on 127.0.0.1 and below ROOT: a Kubernetes control plane,
# PowerDNS, and a groupware server (PostgreSQL, Dovecot, Postfix, SOGo, OpenDKIM, memcached).
# usage: up.sh ROOT [WITH_PID]     then: . ROOT/env; down.sh ROOT
# ROOT must not exist yet, and be reachable by other users (not below /root). With WITH_PID the stack ends when that process
# has ended, however it did. Ports are a block of 1,000, free and kept free from other runs (MAILTENANT_PORTS=FROM-TO).
# KUBECONFIG, if set, is the cluster that is used; then no control plane is started.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/lib.sh"
[ $# -ge 1 ] || { sed -n 2,8p "$0" >&2; exit 2; }
[ -e "$1/env" ] && { echo "$1 has a stack already: down.sh it and remove it first" >&2; exit 1; }
mkdir -p "$1"
ROOT="$(cd "$1" && pwd)" WITH_PID="${2:-}"
chmod 755 "$ROOT"
mkdir -p "$ROOT/log"
"$HERE/install.sh" >"$ROOT/log/install.log" 2>&1 || { tail -5 "$ROOT/log/install.log" >&2; exit 1; }
echo $$ >"$ROOT/pids.stack"
BASE="$(claim_ports "$ROOT")"
trap '[ $? = 0 ] || "$HERE/down.sh" "$ROOT"' EXIT

# Beside each other: none needs another one to start.
if [ -n "${KUBECONFIG:-}" ]; then
  echo "using the cluster of KUBECONFIG=$KUBECONFIG" >&2
  mkdir -p "$ROOT/k8s"
  cp "$KUBECONFIG" "$ROOT/k8s/kubeconfig"
  cp "$KUBECONFIG" "$ROOT/k8s/operator.kubeconfig"
  k8s=
else
  "$HERE/controlplane/up.sh" "$ROOT/k8s" "$BASE" >"$ROOT/log/controlplane.up.log" 2>&1 &
  k8s=$!
fi
"$HERE/powerdns/up.sh" "$ROOT/dns" $((BASE + 10)) >"$ROOT/log/powerdns.up.log" 2>&1 &
dns=$!
# The groupware's ports are counted from a base of its own: 12 to 995 above it.
DB_PASSWORD="$(openssl rand -hex 16)" "$HERE/groupware/up.sh" "$ROOT/gw" "$BASE" >"$ROOT/log/groupware.up.log" 2>&1 &
gw=$!
failed=
for part in "controlplane $k8s" "powerdns $dns" "groupware $gw"; do
  pid=${part#* }
  [ -z "$pid" ] || wait "$pid" || { failed=1; echo "${part% *} did not start:" >&2; tail -n 20 "$ROOT/log/${part% *}.up.log" >&2; }
done
[ -z "$failed" ] || exit 1

# The authority of certificates that clients trust here.
mkdir -p "$ROOT/web"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=web-ca -keyout "$ROOT/web/ca.key" -out "$ROOT/web/ca.crt" 2>/dev/null

{
  echo "STACK_ROOT=$ROOT"
  echo "STACK_WEB_CA=$ROOT/web/ca"
  echo "STACK_PORT_BASE=$BASE"
  echo "STACK_KUBECONFIG=$ROOT/k8s/kubeconfig"
  echo "STACK_OPERATOR_KUBECONFIG=$ROOT/k8s/operator.kubeconfig"
  # Where kubectl is, for PATH.
  echo "STACK_BIN=${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS:}$MAILTENANT_CACHE/bin"
  cat "$ROOT/dns/env" "$ROOT/gw/env"
} >"$ROOT/env.new"
# shellcheck source=/dev/null
. "$ROOT/env.new"

# Two zones, with records that are somebody else's: they must be there, unchanged, whatever the operator does.
zone() { # NAME
  curl -sSf -o /dev/null -K <(printf 'header = "X-API-Key: %s"\n' "$PDNS_KEY") -H 'Content-Type: application/json' "$PDNS_API/api/v1/servers/localhost/zones" -d '{
    "name": "'"$1"'.", "kind": "Native", "nameservers": ["ns1.'"$1"'."], "rrsets": [
      {"name": "'"$1"'.", "type": "TXT", "ttl": 300, "records": [{"content": "\"site-verification=4711\"", "disabled": false}]},
      {"name": "www.'"$1"'.", "type": "A", "ttl": 300, "records": [{"content": "192.0.2.10", "disabled": false}]}]}'
}
for z in acme.test example.org; do zone "$z"; done

if [ -n "$WITH_PID" ]; then
  setsid "$HERE/reap.sh" "$ROOT" "$WITH_PID" >"$ROOT/log/reap.log" 2>&1 </dev/null &
  echo $! >"$ROOT/pids.stack"
else
  # The control plane stands for the stack when somebody asks whether its ports are still in use.
  cut -d' ' -f1 "$ROOT/k8s/pids" >"$ROOT/pids.stack" 2>/dev/null || cat "$ROOT/dns/pid" >"$ROOT/pids.stack"
fi
mv "$ROOT/env.new" "$ROOT/env"
