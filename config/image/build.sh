#!/usr/bin/env bash
# Makes the operator's image without Docker: one static binary and the CA certificates, for the user 65532, in one layer.
# usage: build.sh OUT.tar        an OCI layout that `docker load`, `podman load`, `ctr images import` and `skopeo` read
#                               and OUT.spdx.json, the bill of materials that is in the image as /sbom.spdx.json too (sbom.sh)
#        build.sh --rootfs DIR   only what is in it (the Dockerfile beside this does that)
# BINARY=FILE   packs that file, built of these sources, instead of building one (a build takes about 10 minutes on 2 cores)
# IMAGE=NAME    its name, default localhost/mailtenant:VERSION
# SOURCE_DATE_EPOCH=SECONDS   the time of everything in it, default that of the last commit. The same binary, sources and
#               certificates give the same digest, which is printed.
# Needs Rust with the target of glibc, gcc and libc6-dev, and the Debian package ca-certificates.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
TOP="$(cd "$HERE/../.." && pwd)"
PATH="$PATH:$HOME/.cargo/bin"
LIMIT=$((30 * 1024 * 1024))
VERSION="$(awk -F'"' '/^version = / { print $2; exit }' "$TOP/Cargo.toml")"
IMAGE="${IMAGE:-localhost/mailtenant:$VERSION}"
# The commit that was built. Nothing can be said with changes that are in none, or of a binary that was built elsewhere.
REVISION=
if [ -z "${BINARY:-}" ] && git -C "$TOP" diff --quiet HEAD 2>/dev/null; then REVISION="$(git -C "$TOP" rev-parse HEAD)"; fi
EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$TOP" log -1 --format=%ct 2>/dev/null || echo 0)}"
MACHINE="$(uname -m)"
case $MACHINE in
x86_64) ARCH=amd64 ;;
aarch64) ARCH=arm64 ;;
*) echo "no image for $MACHINE: only x86_64 and aarch64 are known here" >&2; exit 1 ;;
esac

build() { # -> prints the binary
  local target="$MACHINE-unknown-linux-gnu" folder
  folder="${CARGO_TARGET_DIR:-$TOP/target}"
  # glibc is linked in: names are found through files and DNS, which glibc 2.34 and later do without loading a library.
  # Paths of this machine stay out of the binary.
  (cd "$TOP" && RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$TOP=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
    cargo build --locked --profile dist --target "$target" --bin mailtenant >&2)
  echo "$folder/$target/dist/mailtenant"
}

rootfs() { # DIR
  local binary="${BINARY:-}" certificates=/etc/ssl/certs/ca-certificates.crt
  [ -s "$certificates" ] || { echo "no $certificates: apt-get install ca-certificates" >&2; exit 1; }
  [ -n "$binary" ] || binary="$(build)"
  mkdir -p "$1/etc/ssl/certs"
  install -m 0755 "$binary" "$1/mailtenant"
  install -m 0644 "$certificates" "$1$certificates"
  install -m 0644 "$TOP/LICENSE" "$1/LICENSE"
  SOURCE_DATE_EPOCH="$EPOCH" "$HERE/sbom.sh" "$1/sbom.spdx.json"
  chmod 0644 "$1/sbom.spdx.json"
  echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
  echo 'mailtenant:x:65532:65532:mailtenant:/:/sbin/nologin' >"$1/etc/passwd"
  echo 'mailtenant:x:65532:' >"$1/etc/group"
  chmod 0755 "$1" "$1/etc" "$1/etc/ssl" "$1/etc/ssl/certs"
  chmod 0644 "$1/etc/nsswitch.conf" "$1/etc/passwd" "$1/etc/group"
}

same_tar() { # DIR: the same files give the same bytes
  tar --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -C "$1" -cf - .
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

# blob FILE: moves it among the blobs; DIGEST and SIZE say what it became.
blob() {
  DIGEST="$(digest "$1")" SIZE="$(stat -c %s "$1")"
  mv "$1" "$WORK/layout/blobs/sha256/$DIGEST"
}

pack() { # OUT
  local created layer diff config layer_size config_size
  created="$(date -u -d "@$EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
  mkdir -p "$WORK/layout/blobs/sha256"
  same_tar "$WORK/rootfs" >"$WORK/layer.tar"
  diff="$(digest "$WORK/layer.tar")"
  gzip -n -9 <"$WORK/layer.tar" >"$WORK/layer"
  blob "$WORK/layer"
  layer=$DIGEST layer_size=$SIZE
  cat >"$WORK/config" <<JSON
{"created":"$created","architecture":"$ARCH","os":"linux","config":{"User":"65532:65532","Entrypoint":["/mailtenant"],"Cmd":["run"],"ExposedPorts":{"8080/tcp":{}},"Labels":{"org.opencontainers.image.title":"mailtenant","org.opencontainers.image.version":"$VERSION","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.created":"$created"${REVISION:+,\"org.opencontainers.image.revision\":\"$REVISION\"}}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},"history":[{"created":"$created","created_by":"config/image/build.sh"}]}
JSON
  blob "$WORK/config"
  config=$DIGEST config_size=$SIZE
  cat >"$WORK/manifest" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$layer_size}]}
JSON
  blob "$WORK/manifest"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$WORK/layout/oci-layout"
  cat >"$WORK/layout/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$DIGEST","size":$SIZE,"platform":{"architecture":"$ARCH","os":"linux"},"annotations":{"io.containerd.image.name":"$IMAGE","org.opencontainers.image.ref.name":"${IMAGE##*:}"}}]}
JSON
  # For `docker load` of versions that do not know OCI layouts.
  echo "[{\"Config\":\"blobs/sha256/$config\",\"RepoTags\":[\"$IMAGE\"],\"Layers\":[\"blobs/sha256/$layer\"]}]" >"$WORK/layout/manifest.json"
  same_tar "$WORK/layout" >"$1.new"
  mv "$1.new" "$1"
  echo "$IMAGE sha256:$DIGEST $(stat -c %s "$1") bytes" >&2
  # What a registry stores and a node pulls. A stand-in of BINARY may be larger.
  if [ "$layer_size" -gt "$LIMIT" ] && [ -z "${BINARY:-}" ]; then
    echo "the layer has $layer_size bytes, more than the $LIMIT that are allowed: see what was linked in" >&2
    exit 1
  fi
  echo "sha256:$DIGEST"
}

case ${1:-} in
--rootfs) rootfs "${2:?a folder}" ;;
"" | -*) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
*)
  WORK="$(mktemp -d)"
  trap 'rm -rf "$WORK"' EXIT
  rootfs "$WORK/rootfs"
  install -m 0644 "$WORK/rootfs/sbom.spdx.json" "${1%.tar}.spdx.json"
  pack "$1"
  ;;
esac
