#!/usr/bin/env bash
# A receiver's filter on loopback: rspamd judges SPF, DKIM and DMARC of a message as one that came from elsewhere, by a resolver (BIND)
# that asks the DNS server of one zone for that zone.
# usage: up.sh ROOT DNS_PORT HTTP_PORT ZONE SERVER
#   SERVER     host:port of the zone's authoritative server
#   DNS_PORT   of the resolver, which also has mail.example.net, the platform's own zone: mail is sent from 192.0.2.10 there
#   HTTP_PORT  of rspamd: POST /checkv2 with a message
# Both end with the process OWNER_PID, if that is set. Needs (Debian 12): apt-get install -y bind9 rspamd dnsutils curl
set -euo pipefail
# shellcheck source=e2e/stack/lib.sh
. "$(dirname "$0")/../lib.sh"
[ $# -eq 5 ] || { echo "usage: up.sh ROOT DNS_PORT HTTP_PORT ZONE SERVER" >&2; exit 2; }
mkdir -p "$1/tmp"
ROOT="$(cd "$1" && pwd)"
DNS="$2" HTTP="$3" ZONE="$4" SERVER="$5"

cat >"$ROOT/platform.zone" <<ZONE
\$TTL 60
@ SOA ns1 hostmaster 1 3600 600 604800 60
@ NS ns1
ns1 A 127.0.0.1
mx1 A 192.0.2.10
_spf TXT "v=spf1 ip4:192.0.2.10 -all"
ZONE
cat >"$ROOT/named.conf" <<CONF
options {
  directory "$ROOT"; pid-file none; session-keyfile none; lock-file none;
  listen-on port $DNS { 127.0.0.1; }; listen-on-v6 { none; };
  recursion yes; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "mail.example.net" { type primary; file "$ROOT/platform.zone"; };
zone "$ZONE" { type forward; forward only; forwarders { ${SERVER%:*} port ${SERVER##*:}; }; };
CONF
# Nothing of the package's configuration: it would ask the Internet, and Redis.
cat >"$ROOT/rspamd.conf" <<CONF
options {
  filters = "dkim";
  # Loopback is no exemption here.
  local_addrs = [];
  dns { nameserver = ["127.0.0.1:$DNS"]; timeout = 2s; retransmits = 3; }
  tempdir = "$ROOT/tmp"; pidfile = "$ROOT/tmp/pid"; control_socket = "$ROOT/tmp/control mode=0600";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
}
logging { type = "console"; level = "info"; }
worker "normal" { bind_socket = "127.0.0.1:$HTTP"; count = 1; mime = true; }
lua = "/usr/share/rspamd/rules/rspamd.lua";
modules { path = "/usr/share/rspamd/plugins/spf.lua"; path = "/usr/share/rspamd/plugins/dmarc.lua"; }
dkim { }
spf { }
dmarc { actions = { quarantine = "add_header"; reject = "reject"; } }
actions { reject = 15; add_header = 6; greylist = 4; }
CONF
run() { # WORD COMMAND...: WORD stands in its command line, whatever it makes of that
  local word="$1"
  shift
  setsid "$@" >>"$ROOT/log" 2>&1 </dev/null &
  STARTED+=("$! $word")
  end_with_owner $! "$word"
}
STARTED=()
run "$ROOT/named.conf" "$(command -v named)" -g -c "$ROOT/named.conf" -n 1
# It calls itself "rspamd: main process".
run rspamd "$(command -v rspamd)" -f -i -c "$ROOT/rspamd.conf"
# 15 s on two busy cores: it compiles the list of public suffixes first.
if ! wait_for 120 "rspamd (log in $ROOT/log)" curl -sf "http://127.0.0.1:$HTTP/ping" ||
  ! wait_for 30 "BIND (log in $ROOT/log)" dig +short +time=1 +tries=1 @127.0.0.1 -p "$DNS" mail.example.net SOA; then
  for one in "${STARTED[@]}"; do end_pid "${one%% *}" "${one#* }"; done
  exit 1
fi
