#!/usr/bin/env bash
# The first process of the machine that machine.sh makes: sets it up, runs a command, and ends everything with it.
# usage: inside.sh ROOT COMMAND...
set -euo pipefail
ROOT=$1
shift
die() { echo "no node can run here: $*" >&2; exit 1; }

# Pods' volumes are mounts that containerd must see.
mount -n --make-rshared / || die "the mounts cannot be shared"
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
# kubelet and CNI write there, whatever their settings say.
for folder in lib log; do
  mkdir -p "$ROOT/var/$folder/changed" "$ROOT/var/$folder/work"
  mount -n -t overlay overlay -o "lowerdir=/var/$folder,upperdir=$ROOT/var/$folder/changed,workdir=$ROOT/var/$folder/work" "/var/$folder" ||
    die "no overlay can be mounted with its changes in $ROOT (is TMPDIR on an overlay itself?)"
done
# kubelet sets these for the whole machine, unless they are so: they look as if they were.
mkdir -p "$ROOT/sysctl"
while read -r name value; do
  [ -e "/proc/sys/$name" ] || continue
  echo "$value" >"$ROOT/sysctl/${name//\//.}"
  mount -n --bind "$ROOT/sysctl/${name//\//.}" "/proc/sys/$name"
done <<'SYSCTL'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL

hostname node1
# No way leads out of here. Pods reach this machine under MAILTENANT_NODE_IP, and the Kubernetes API under the address of its Service.
export MAILTENANT_NODE_IP=10.250.0.1 MAILTENANT_API_IP=10.96.0.1
ip link set lo up
for address in "$MAILTENANT_NODE_IP" "$MAILTENANT_API_IP"; do ip address add "$address/32" dev lo; done
for kind in bridge veth; do
  ip link add probe type "$kind" || die "the kernel makes no network interface of type $kind"
  ip link delete probe
done
echo 1 >/proc/sys/net/ipv4/ip_forward

# For e2e/stack/up.sh: DNS is answered where pods reach it, and kube-apiserver may ask kubelet for logs.
export PDNS_ADDRESS="$MAILTENANT_NODE_IP"
export APISERVER_ARGS="--kubelet-client-certificate pki/admin.crt --kubelet-client-key pki/admin.key --kubelet-certificate-authority pki/ca.crt"
# Not `exec`: as the first process it collects those whose parents have ended.
code=0
"$@" || code=$?
exit "$code"
