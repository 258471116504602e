#!/usr/bin/env bash
# Starts a node in the cluster of a running stack: containerd, kubelet and kube-scheduler, and ways for pods to this machine's
# servers, which listen on loopback. Within machine.sh only, which ends it.
# usage: up.sh ROOT IMAGE.tar...     ROOT of e2e/stack/up.sh; the images are put into containerd
# Without kube-proxy: a Service has no address that works, but that of the Kubernetes API. No cluster DNS.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/../lib.sh"
[ -n "${MAILTENANT_NODE_IP:-}" ] || { echo "only within e2e/stack/node/machine.sh" >&2; exit 1; }
ROOT="$(cd "$1" && pwd)"
shift
# shellcheck source=/dev/null
. "$ROOT/env"
BIN="$MAILTENANT_CACHE/bin" K8S="$ROOT/k8s" API="https://127.0.0.1:$STACK_PORT_BASE" PODS=10.244.0.0/24
tool() { if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then echo "$KUBEBUILDER_ASSETS/$1"; else echo "$BIN/$1"; fi; }
mkdir -p "$ROOT/node"/{log,cni,pause}
cd "$ROOT/node"

run() { # NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >"log/$name.log" 2>&1 </dev/null &
}
# A process for each connection: a pod's way to what listens on loopback.
forward() { run "forward-$1-$2" socat "TCP-LISTEN:$2,bind=$1,fork,reuseaddr" "TCP:127.0.0.1:$3"; }
forward "$MAILTENANT_API_IP" 443 "$STACK_PORT_BASE"
for port in "$GW_P_PG" "$GW_P_DOVEADM" "$GW_P_MEMCACHED" "$GW_P_SMTP" "${PDNS_API##*:}"; do forward "$MAILTENANT_NODE_IP" "$port" "$port"; done

cert() { # NAME SUBJECT SUBJECT_ALT_NAME
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$K8S/pki/ca.crt" -CAkey "$K8S/pki/ca.key" -CAcreateserial -days 3650 -out "$1.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
  cat >"$1.kubeconfig" <<CONF
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$API", certificate-authority: "$K8S/pki/ca.crt"}}]
users: [{name: u, user: {client-certificate: "$PWD/$1.crt", client-key: "$PWD/$1.key"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
CONF
}
cert kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$MAILTENANT_NODE_IP"
cert kube-scheduler /CN=system:kube-scheduler DNS:kube-scheduler

cat >containerd.toml <<CONF
version = 2
root = "$PWD/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$PWD/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE no process may lower its own.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$PWD/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
CONF
cat >cni/10-bridge.conflist <<CONF
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni-ipam"}}]}
CONF
: >resolv.conf
cat >kubelet.yaml <<CONF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# Both versions of cgroups will do.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: $MAILTENANT_CGROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$K8S/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: "$PWD/kubelet.crt"
tlsPrivateKeyFile: "$PWD/kubelet.key"
clusterDomain: cluster.local
resolvConf: "$PWD/resolv.conf"
failSwapOn: false
oomScoreAdj: 0
volumePluginDir: /var/lib/kubelet/volumeplugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%, imagefs.inodesFree: 1%}
CONF

# What holds a pod's namespaces, packed as the operator is: the image's name for its binary does not matter.
gcc -O1 -static -o pause/pause "$HERE/pause.c"
BINARY="$PWD/pause/pause" IMAGE=localhost/pause:1 SOURCE_DATE_EPOCH=0 "$HERE/../../../config/image/build.sh" pause/pause.tar >/dev/null 2>log/pause.log

run containerd containerd -c containerd.toml
wait_for 60 containerd ctr -n k8s.io version || { tail -n 5 log/containerd.log >&2; exit 1; }
for image in "$PWD/pause/pause.tar" "$@"; do
  ctr -n k8s.io images import "$image" >>log/import.log 2>&1 || { tail -n 5 log/import.log >&2; exit 1; }
done
run kubelet "$(tool kubelet)" --config kubelet.yaml --kubeconfig kubelet.kubeconfig --hostname-override node1 --node-ip "$MAILTENANT_NODE_IP"
run kube-scheduler "$(tool kube-scheduler)" --kubeconfig kube-scheduler.kubeconfig --authentication-kubeconfig kube-scheduler.kubeconfig \
  --authorization-kubeconfig kube-scheduler.kubeconfig --bind-address 127.0.0.1 --leader-elect=false
k() { "$(tool kubectl)" --kubeconfig "$K8S/kubeconfig" "$@"; }
ready() { [ "$(k get node node1 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
wait_for 120 "the node" ready || { k describe node node1 >&2; grep -E '^E' log/kubelet.log | tail -n 10 >&2; tail -n 5 log/kubelet.log >&2; exit 1; }
