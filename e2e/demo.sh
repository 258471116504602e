#!/usr/bin/env bash
# The main job on real servers, told step by step: `make demo`. KEEP=1 leaves everything up and says where it is.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
cd "$HERE/.."
. e2e/stack/lib.sh
. e2e/stack/progress.sh
ROOT="${TMPDIR:-/tmp}/mailtenant-demo-$$"

show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
must() { # WHAT COMMAND...: the demo is also a test
  local what=$1; shift
  "$@" || { echo "demo: $what: did not happen" >&2; exit 1; }
}
operator=
end() {
  local status=$?
  trap - EXIT
  section_end
  end_jobs
  if [ "$status" = 0 ] && [ -n "${KEEP:-}" ]; then
    cat <<TXT

Left up, as KEEP=1 asks. Ports, keys and passwords of all servers: $ROOT/env
Type next:
  export KUBECONFIG=$STACK_KUBECONFIG PATH=$STACK_BIN:\$PATH
  kubectl apply -f config/samples/tenant.yaml && kubectl get mail -n tenant-acme --watch
  kubectl describe mailbox alice -n tenant-acme
  kubectl annotate mailbox alice -n tenant-acme mailtenant.dev/rotate-password="\$(date)"
  kubectl delete namespace tenant-acme
  tail -f $ROOT/log/operator.log
When done:
  e2e/stack/down.sh $ROOT && rm -rf $ROOT
TXT
    exit 0
  fi
  if [ "$status" != 0 ] && [ -e "$ROOT/log/operator.log" ]; then
    { echo "-- the operator's last words:"; tail -n 20 "$ROOT/log/operator.log"; } >&2
  fi
  [ -z "$operator" ] || end_pid "$operator" mailtenant
  if [ -d "$ROOT" ]; then
    tell "ending all servers (usually 15 s)"
    e2e/stack/down.sh "$ROOT"
  fi
  rm -rf "$ROOT"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

# How far a job is, from its log.
crates() {
  local n
  n=$(grep -c '^ *Compiling ' "$1") || { last_line "$1"; return; }
  echo "compiling $(grep '^ *Compiling ' "$1" | tail -n 1 | awk '{print $2}'), crate $n of at most $(grep -c '^name = ' Cargo.lock)"
}
go_packages() {
  local binary
  binary=$(grep '^building ' "$1" | tail -n 1) || { last_line "$1"; return; }
  echo "$binary, $(last_line "$1"), Go package $(awk -v from="$binary" '/^go: / { next } { n++ } $0 == from { n = 0 } END { print n }' "$1")"
}

echo "Real servers, on loopback. On a bare machine with 2 cores the preparation takes 10 to 25 minutes; later runs take 1 or 2."
parts=()
if [ -n "${KUBECONFIG:-}" ]; then
  echo "The cluster of KUBECONFIG is used. Everything below is installed there."
  command -v kubectl >/dev/null || parts=(kubectl)
else
  parts=(etcd kube-apiserver kube-controller-manager kubectl)
  cat <<'TXT'
The longest step is building a Kubernetes control plane, once. What saves it: KUBEBUILDER_ASSETS=FOLDER with etcd,
kube-apiserver, kubectl and kube-controller-manager (what is not in there is built), or KUBECONFIG=FILE of a cluster
that nobody else uses.
TXT
fi
job "Debian packages" "1 minute the first time, then nothing" last_line e2e/stack/install.sh
await_jobs
# As the tests build it: `cargo build` alone would compile every dependency once more, with other features.
job "the operator" "5 to 15 minutes the first time, then seconds" crates cargo test --no-run --test e2e
[ ${#parts[@]} -eq 0 ] ||
  job "the control plane" "6 to 15 minutes the first time, then nothing" go_packages env VERBOSE=1 e2e/stack/controlplane/build.sh "${parts[@]}"
await_jobs
job "starting Kubernetes, PowerDNS, PostgreSQL, Dovecot, Postfix and SOGo" "10 to 30 s" last_line e2e/stack/up.sh "$ROOT"
await_jobs
BINARY="$(cargo metadata --no-deps --format-version 1 | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/debug/mailtenant"
# shellcheck source=/dev/null
. "$ROOT/env"
export KUBECONFIG="$STACK_KUBECONFIG" PATH="$STACK_BIN:$PATH"

section "1. The platform team installs the operator and registers its servers" "5 s"
"$BINARY" crds | kubectl apply --server-side -f - >"$ROOT/log/crds.log"
show kubectl get crds
set -a
. config/samples/platform.env
set +a
export POSTGRES_PORT=$GW_P_PG POSTGRES_DATABASE=groupware POSTGRES_USER=$GW_DB_USER POSTGRES_PASSWORD=$GW_DB_PASSWORD
export DOVEADM_URL=http://127.0.0.1:$GW_P_DOVEADM/doveadm/v1 DOVEADM_KEY=$GW_API_KEY MEMCACHED_PORT=$GW_P_MEMCACHED
export DELIVERY_PORT=$GW_P_SMTP POWERDNS_URL=$PDNS_API POWERDNS_KEY=$PDNS_KEY POWERDNS_DNS=$PDNS_DNS
envsubst <config/samples/platform.yaml | kubectl apply -f -
KUBECONFIG="$STACK_OPERATOR_KUBECONFIG" setsid "$BINARY" run --http-address "127.0.0.1:$((STACK_PORT_BASE + 900))" >"$ROOT/log/operator.log" 2>&1 </dev/null &
operator=$!
echo "$operator mailtenant" >>"$ROOT/pids.also"
must "the backends are ready" kubectl wait --for=condition=Ready --timeout=60s groupwarebackend/berlin dnsbackend/pdns
show kubectl get groupwarebackends,dnsbackends

section "2. A tenant applies an instance, a domain, two mailboxes, an alias and a catch-all" "5 to 20 s"
show kubectl apply -f config/samples/tenant.yaml
ns=tenant-acme
for o in mailinstance/acme mailbox/alice mailbox/bob mailalias/info mailalias/catch-all maildomain/acme-test; do
  must "$o is ready" kubectl wait --for=condition=Ready --timeout=120s -n $ns "$o"
done
show kubectl get mail -n $ns
dns_says() { # "NAME TYPE"...
  local name type
  while read -r name type; do
    echo "$name $type"
    dig +short +tcp "@${PDNS_DNS%:*}" -p "${PDNS_DNS##*:}" "$name" "$type" | sed 's/^/    /'
  done < <(printf '%s\n' "$@")
}
echo "What the DNS says now (what was there before is there still):"
dns_says "acme.test MX" "acme.test TXT" "_dmarc.acme.test TXT" "www.acme.test A"

secret() { kubectl get secret -n $ns "$1" -o "jsonpath={.data.$2}" | base64 -d; }
# Passwords go to curl by a file descriptor, not by the command line.
login() { printf 'user = "%s:%s"\n' "$1" "$2"; }
send() { # FROM TO SUBJECT
  printf 'From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@demo>\r\n\r\nHello.\r\n' "$1" "$2" "$3" "$RANDOM$RANDOM" |
    curl -sS --url "smtp://127.0.0.1:$GW_P_SMTP/elsewhere.example" --mail-from "$1" --mail-rcpt "$2" -T -
}
inbox() { # ADDRESS PASSWORD: the headers that matter
  local i=1 one
  while one=$(curl -s -K <(login "$1" "$2") "imap://127.0.0.1:$GW_P_IMAP/INBOX;MAILINDEX=$i;SECTION=HEADER.FIELDS%20(FROM%20TO%20SUBJECT)"); do
    echo "$one" | tr -d '\r' | grep . | paste -sd' ' | sed 's/^/    /'
    i=$((i + 1))
  done
}
arrived() { inbox "$1" "$2" | grep -q "Subject: $3"; }
signs_in() { curl -s -o /dev/null -K <(login "$1" "$2") "imap://127.0.0.1:$GW_P_IMAP/"; }

section "3. Mail from outside: to a mailbox, to the alias, to an address that nobody has (the catch-all)" "2 s"
send visitor@elsewhere.example alice@acme.test "for Alice"
send visitor@elsewhere.example info@acme.test "for the office"
send visitor@elsewhere.example sales-2027@acme.test "for whoever"
alice="$(secret alice-mail password)" bob="$(secret bob-password password)"
wait_for 30 "the mail to alice" arrived alice@acme.test "$alice" "for Alice"
wait_for 30 "the mail to the alias" arrived alice@acme.test "$alice" "for the office"
wait_for 30 "the mail to the catch-all" arrived bob@acme.test "$bob" "for whoever"
echo "Alice's inbox, read by IMAP with the password of the Secret alice-mail:"
inbox alice@acme.test "$alice"
echo "Bob's:"
inbox bob@acme.test "$bob"

section "4. Alice's password is rotated: the old one fails at once" "1 s"
show kubectl annotate -n $ns mailbox/alice mailtenant.dev/rotate-password=demo
must "the rotation is done" kubectl wait -n $ns mailbox/alice --for=jsonpath='{.status.lastHandledRotatePassword}'=demo --timeout=60s
refused() { ! signs_in "$@"; }
must "the old password is refused" refused alice@acme.test "$alice"
must "the new password works" signs_in alice@acme.test "$(secret alice-mail password)"

section "5. Another tenant wants the domain" "2 s"
kubectl get dnsbackend pdns -o json |
  /usr/bin/python3 -c 'import json, sys
o = json.load(sys.stdin)
o["metadata"] = {"name": "careless"}
o.pop("status", None)
[z.pop("allowedNamespaces", None) for z in o["spec"]["zones"]]
print(json.dumps(o))' | kubectl apply -f -
kubectl apply -f - <<'YAML'
apiVersion: v1
kind: Namespace
metadata: {name: tenant-evil, labels: {mail: standard}}
---
apiVersion: mailtenant.dev/v1alpha1
kind: MailInstance
metadata: {name: evil, namespace: tenant-evil}
spec: {backendRef: {name: berlin}, storage: 1Gi}
---
# By our DNS server, where the zone is another tenant's:
apiVersion: mailtenant.dev/v1alpha1
kind: MailDomain
metadata: {name: by-dns, namespace: tenant-evil}
spec: {instanceRef: {name: evil}, domain: acme.test, dns: {mode: Managed, backendRef: {name: pdns}}}
---
# By a DNS server where the platform forgot to keep the zone for its tenant:
apiVersion: mailtenant.dev/v1alpha1
kind: MailDomain
metadata: {name: by-claim, namespace: tenant-evil}
spec: {instanceRef: {name: evil}, domain: acme.test, dns: {mode: Managed, backendRef: {name: careless}}}
YAML
stalled_for() { kubectl get maildomain -n tenant-evil "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}' | grep -qxE "$2"; }
wait_for 60 "the refusal of by-dns" stalled_for by-dns 'BackendNotAllowed'
wait_for 60 "the refusal of by-claim" stalled_for by-claim 'DomainClaimed'
show kubectl get maildomains -A
kubectl get maildomains -n tenant-evil -o 'jsonpath={range .items[*]}{.metadata.name}: {.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}'
kubectl delete namespace tenant-evil --wait=false >/dev/null

section "6. Everything is deleted at once, parents first: children go first all the same" "10 to 20 s"
kubectl delete mailinstance,maildomain,mailbox,mailalias --all -n $ns --wait=false
sleep 0.3
kubectl get mail -n $ns -o 'custom-columns=KIND:.kind,NAME:.metadata.name,WAITS:.status.conditions[?(@.type=="DeletionBlocked")].message' 2>/dev/null || true
gone() { [ -z "$(kubectl get mail -n $ns -o name 2>/dev/null)" ]; }
wait_for 120 "the end of the tenant" gone
echo "Events, in their order:"
kubectl get events -n $ns --sort-by=.metadata.creationTimestamp -o 'custom-columns=OBJECT:.involvedObject.kind,NAME:.involvedObject.name,REASON:.reason,MESSAGE:.message' | tail -n 25
echo "Left at the mail server:"
psql -At -h 127.0.0.1 -p "$GW_P_PG" -U postgres groupware -c "SELECT count(*) || ' domains, ' || (SELECT count(*) FROM mailbox) || ' mailboxes, ' || (SELECT count(*) FROM alias) || ' aliases' FROM domain WHERE domain = 'acme.test'" | sed 's/^/    /'
echo "Left in the DNS, as before the tenant came:"
dns_says "acme.test MX" "acme.test TXT" "www.acme.test A"
kubectl delete namespace $ns --wait=false >/dev/null
section_end
printf '\nThat was all of it.\n\n'
