#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl from Go modules into $MAILTENANT_CACHE/bin
# (default ~/.cache/mailtenant/bin), once: what is there in the pinned version is kept. Prints the folder.
# usage: build.sh [NAME...]      instead of all four: these; kubelet and kube-scheduler (a node's) are built only if they are named.
#                                VERBOSE=1 names each Go package as it is compiled
# Cold on 2 cores: about 6 minutes. Binaries of KUBEBUILDER_ASSETS are taken instead where it has them.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/../lib.sh"
OUT="$MAILTENANT_CACHE/bin"
mkdir -p "$OUT"
# Several runs on one machine: the second waits, then finds everything there.
exec 9>"$MAILTENANT_CACHE/build.lock"
flock -n 9 || { echo "another run on this machine builds the control plane: waiting for it" >&2; flock 9; }
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"

version_of() { # MODULE_FOLDER MODULE: from go.mod, without needing Go
  awk -v m="$2" '$1 == m { print $2; exit } $1 == "require" && $2 == m { print $3; exit }' "$HERE/$1/go.mod"
}
has() { # NAME VERSION: is it there in this version?
  local bin="$OUT/$1" said
  [ -x "$bin" ] || return 1
  # Read to its end: kubectl says more than the line that is looked for, and fails when nobody listens any more.
  case $1 in
  kubectl) said="$("$bin" version --client 2>/dev/null)" ;;
  *) said="$("$bin" --version 2>/dev/null)" ;;
  esac
  grep -qF -- "${2#v}" <<<"$said"
}
[ $# -gt 0 ] || set -- etcd kube-apiserver kube-controller-manager kubectl
WANTED=" $* "
build() { # NAME VERSION FOLDER PACKAGE LDFLAGS
  case $WANTED in *" $1 "*) ;; *) return 0 ;; esac
  has "$1" "$2" && return
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then return; fi
  command -v go >/dev/null || { echo "Go is needed to build $1 (or KUBECONFIG, or KUBEBUILDER_ASSETS)" >&2; exit 1; }
  echo "building $1 $2" >&2
  (cd "$HERE/$3" && go build ${VERBOSE:+-v} -ldflags "-s -w $5" -o "$OUT/.$1.new" "$4") 9>&-
  mv "$OUT/.$1.new" "$OUT/$1"
}

ETCD="$(version_of etcd go.etcd.io/etcd/server/v3)"
K8S="$(version_of . k8s.io/kubernetes)"
P=k8s.io/component-base/version
LD="-X $P.gitVersion=$K8S -X $P.gitMajor=1 -X $P.gitMinor=$(echo "$K8S" | cut -d. -f2) -X $P.gitTreeState=clean"
build etcd "$ETCD" etcd go.etcd.io/etcd/server/v3 ""
for b in kube-apiserver kube-controller-manager kubectl kube-scheduler kubelet; do
  build "$b" "$K8S" . "k8s.io/kubernetes/cmd/$b" "$LD"
done
echo "$OUT"
