#!/usr/bin/env bash
# Builds helm from its Go module into $MAILTENANT_CACHE/bin (default ~/.cache/mailtenant/bin), once: what is there in the pinned
# version is kept. Prints the path. Cold on 2 cores: about 3 minutes. A helm of KUBEBUILDER_ASSETS is taken instead.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/../lib.sh"
if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/helm" ]; then
  echo "$KUBEBUILDER_ASSETS/helm"
  exit 0
fi
OUT="$MAILTENANT_CACHE/bin"
VERSION="$(awk '$1 == "require" && $2 == "helm.sh/helm/v3" { print $3 }' "$HERE/go.mod")"
mkdir -p "$OUT"
exec 9>"$MAILTENANT_CACHE/helm.lock"
flock 9
if ! { [ -x "$OUT/helm" ] && "$OUT/helm" version --short 2>/dev/null | grep -qF "$VERSION"; }; then
  command -v go >/dev/null || { echo "Go is needed to build helm (or a helm in KUBEBUILDER_ASSETS)" >&2; exit 1; }
  echo "building helm $VERSION" >&2
  export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
  # As Helm's own Makefile does: without it a chart's kubeVersion is compared with Kubernetes 1.20.
  K8S="$(awk '$1 == "k8s.io/client-go" { split($2, v, "."); print v[2]; exit }' "$HERE/go.mod")"
  LD="-s -w -X helm.sh/helm/v3/internal/version.version=$VERSION"
  for package in chartutil lint/rules; do
    LD="$LD -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$K8S"
  done
  (cd "$HERE" && go build -ldflags "$LD" -o "$OUT/.helm.new" helm.sh/helm/v3/cmd/helm) 9>&-
  mv "$OUT/.helm.new" "$OUT/helm"
fi
echo "$OUT/helm"
