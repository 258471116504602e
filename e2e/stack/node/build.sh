#!/usr/bin/env bash
# Installs and builds what a node needs beside the servers of e2e/stack/install.sh: containerd, runc, CNI plugins and socat of Debian,
# kubelet, kube-scheduler and the control plane from Go modules, and helm. What is there is kept.
# Cold on 2 cores, after the control plane: kubelet and kube-scheduler take about a minute.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
"$HERE/../install.sh" --node
"$HERE/../controlplane/build.sh"
"$HERE/../controlplane/build.sh" kube-scheduler kubelet
"$HERE/../helm/build.sh"
