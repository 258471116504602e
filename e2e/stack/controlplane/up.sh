#!/usr/bin/env bash
# Starts etcd, kube-apiserver and kube-controller-manager on 127.0.0.1, everything under ROOT.
# usage: up.sh ROOT PORT_BASE      4 ports from PORT_BASE on
# Writes ROOT/kubeconfig (cluster-admin, user "admin"), ROOT/operator.kubeconfig (the operator's ServiceAccount, with the rights
# of config/rbac/ and no others), ROOT/audit.log and ROOT/pids.
# etcd does not sync to disk (FSYNC=1: it does): the cluster is for tests, and ends with the machine.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/../lib.sh"
mkdir -p "$1"
ROOT="$(cd "$1" && pwd)" API=$2 ETCD=$(($2 + 1)) PEER=$(($2 + 2)) KCM=$(($2 + 3))
BIN="$("$HERE/build.sh")"
tool() { if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then echo "$KUBEBUILDER_ASSETS/$1"; else echo "$BIN/$1"; fi; }
cd "$ROOT"
mkdir -p log pki
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=test-ca -keyout pki/ca.key -out pki/ca.crt 2>/dev/null
cert() { # NAME SUBJECT SUBJECT_ALT_NAME
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 3650 -out "pki/$1.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
}
cert apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
cert admin "/O=system:masters/CN=admin" DNS:admin
cert operator "/CN=system:serviceaccount:mailtenant-system:mailtenant" DNS:mailtenant
cert kcm "/CN=system:kube-controller-manager" DNS:kcm
openssl genrsa -out pki/sa.key 2048 2>/dev/null
openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2>/dev/null
b64() { base64 -w0 <"$1"; }
kubeconfig() { # CERT FILE
  cat >"$2" <<CONF
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$API", certificate-authority-data: $(b64 pki/ca.crt)}}]
users: [{name: u, user: {client-certificate-data: $(b64 "pki/$1.crt"), client-key-data: $(b64 "pki/$1.key")}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
CONF
}
kubeconfig admin kubeconfig
kubeconfig operator operator.kubeconfig
kubeconfig kcm kcm.kubeconfig

SYNC=(--unsafe-no-fsync)
[ "${FSYNC:-0}" = 1 ] && SYNC=()
: >pids
run() { # NAME ARGUMENT...
  local name=$1
  shift
  setsid "$(tool "$name")" "$@" >"log/$name.log" 2>&1 </dev/null 9>&- &
  echo "$! $name" >>pids
}
run etcd --data-dir "$ROOT/etcd" --listen-client-urls "http://127.0.0.1:$ETCD" --advertise-client-urls "http://127.0.0.1:$ETCD" \
  --listen-peer-urls "http://127.0.0.1:$PEER" --initial-advertise-peer-urls "http://127.0.0.1:$PEER" \
  --initial-cluster "default=http://127.0.0.1:$PEER" --quota-backend-bytes 8589934592 --log-level warn "${SYNC[@]}"
# shellcheck disable=SC2086
run kube-apiserver --etcd-servers "http://127.0.0.1:$ETCD" --bind-address 127.0.0.1 --secure-port "$API" --advertise-address 127.0.0.1 \
  --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key --client-ca-file pki/ca.crt \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file pki/sa.pub --service-account-signing-key-file pki/sa.key \
  --service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC --endpoint-reconciler-type none \
  --audit-policy-file "$HERE/audit.yaml" --audit-log-path "$ROOT/audit.log" --audit-log-mode blocking --audit-log-maxsize 4000 ${APISERVER_ARGS:-}
ready() { curl -sf --cacert pki/ca.crt --cert pki/admin.crt --key pki/admin.key "https://127.0.0.1:$API/readyz"; }
wait_for 120 kube-apiserver ready || { tail -5 log/kube-apiserver.log log/etcd.log >&2; exit 1; }
run kube-controller-manager --kubeconfig kcm.kubeconfig --authentication-kubeconfig kcm.kubeconfig --authorization-kubeconfig kcm.kubeconfig \
  --bind-address 127.0.0.1 --secure-port "$KCM" --service-account-private-key-file pki/sa.key --root-ca-file pki/ca.crt \
  --use-service-account-credentials --leader-elect=false --kube-api-qps 200 --kube-api-burst 400
"$(tool kubectl)" --kubeconfig kubeconfig create namespace mailtenant-system
"$(tool kubectl)" --kubeconfig kubeconfig apply --server-side -f "$HERE/../../../config/rbac/operator.yaml"
