#!/usr/bin/env bash
# Makes the operator's image for the node by config/image/build.sh, under the name that the chart asks for by default.
# usage: image.sh OUT.tar
# IMAGE_FILE=FILE takes that one instead: what `make image` made, whose build takes 10 minutes. Without it the binary is linked
# from what the tests have compiled already, statically as in that image: seconds.
set -euo pipefail
TOP="$(cd "$(dirname "$0")/../../.." && pwd)"
. "$TOP/e2e/stack/lib.sh"
if [ -n "${IMAGE_FILE:-}" ]; then
  cp "$IMAGE_FILE" "$1"
  exit 0
fi
cd "$TOP"
# A target of the tests, so that its dependencies are those of the tests, with the same features: nothing is compiled twice.
binary="$(cargo rustc --locked --quiet --test static-operator --message-format json -- -C target-feature=+crt-static |
  sed -n 's/.*"name":"static-operator".*"executable":"\([^"]*\)".*/\1/p')"
[ -x "$binary" ] || { echo "cargo did not say where the binary is" >&2; exit 1; }
BINARY="$binary" config/image/build.sh "$1"
