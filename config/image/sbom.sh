#!/usr/bin/env bash
# Writes the bill of materials of the operator's image (SPDX 2.3, JSON): each crate that is linked into the binary with its version,
# licence and checksum, as Cargo.lock has them, and what of Debian is in it.
# usage: sbom.sh OUT.json
# SOURCE_DATE_EPOCH=SECONDS   its time, default that of the last commit. The same sources on the same Debian give the same file.
# Needs Rust and gcc; the versions of Debian's packages are left out where dpkg is not.
set -euo pipefail
TOP="$(cd "$(dirname "$0")/../.." && pwd)"
PATH="$PATH:$HOME/.cargo/bin"
OUT="${1:?a file}"
VERSION="$(awk -F'"' '/^version = / { print $2; exit }' "$TOP/Cargo.toml")"
EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$TOP" log -1 --format=%ct 2>/dev/null || echo 0)}"
CREATED="$(date -u -d "@$EPOCH" +%Y-%m-%dT%H:%M:%SZ)"

debian() { # PACKAGE LICENCE -> a line as those of crates
  local version
  version="$(dpkg-query -W -f='${Version}' "$1" 2>/dev/null || true)"
  [ -z "$version" ] || printf 'deb\t%s\t%s\t%s\t\n' "$1" "$version" "$2"
}

crates() { # -> lines: kind, name, version, licence, checksum
  local target
  target="$(uname -m)-unknown-linux-gnu"
  # Members of the workspace have their folder behind the version, and repeated ones a mark.
  (cd "$TOP" && cargo tree --locked --package mailtenant --edges normal,no-proc-macro --target "$target" --prefix none --format '{p}|{l}') |
    sed 's/ (\*)$//; s/ ([^|]*)|/|/' | LC_ALL=C sort -u |
    awk -F'[ |]' -v lock="$TOP/Cargo.lock" '
      BEGIN {
        while ((getline line < lock) > 0) {
          split(line, at, "\"")
          if (line ~ /^name = /) name = at[2]
          if (line ~ /^version = /) version = at[2]
          if (line ~ /^checksum = /) sum[name " " version] = at[2]
        }
      }
      $1 != "mailtenant" {
        version = substr($2, 2); licence = substr($0, index($0, "|") + 1)
        gsub("/", " OR ", licence)
        print "cargo\t" $1 "\t" version "\t" (licence == "" ? "NOASSERTION" : licence) "\t" sum[$1 " " version]
      }'
}

# Each is assigned alone: bash would go on after a failure inside a longer substitution.
lines="$(crates)"
gcc="$(gcc -dumpversion)"
rust="$(cd "$TOP" && rustc --version | cut -d' ' -f2)"
lines="$(printf '%s\n' "$lines"; printf 'generic\trust-std\t%s\tMIT OR Apache-2.0\t\n' "$rust"
  debian ca-certificates MPL-2.0
  debian libc6-dev LGPL-2.1-or-later
  debian "libgcc-${gcc%%.*}-dev" 'GPL-3.0-or-later WITH GCC-exception-3.1')"
# Two documents with one name are the same document (SPDX 2.3, 6.5).
digest="$(printf '%s %s' "$VERSION" "$lines" | sha256sum | cut -d' ' -f1)"
printf '%s\n' "$lines" | awk -F'\t' -v version="$VERSION" -v created="$CREATED" -v digest="$digest" '
  function package(id, name, version, licence, purl, sum) {
    printf "%s\n  {\"SPDXID\":\"%s\",\"name\":\"%s\",\"versionInfo\":\"%s\",\"downloadLocation\":\"NOASSERTION\",\"filesAnalyzed\":false,", separator, id, name, version
    printf "\"licenseConcluded\":\"NOASSERTION\",\"licenseDeclared\":\"%s\",\"copyrightText\":\"NOASSERTION\",", licence
    if (sum != "") printf "\"checksums\":[{\"algorithm\":\"SHA256\",\"checksumValue\":\"%s\"}],", sum
    printf "\"externalRefs\":[{\"referenceCategory\":\"PACKAGE-MANAGER\",\"referenceType\":\"purl\",\"referenceLocator\":\"%s\"}]}", purl
    separator = ","
  }
  BEGIN {
    printf "{\"spdxVersion\":\"SPDX-2.3\",\"dataLicense\":\"CC0-1.0\",\"SPDXID\":\"SPDXRef-DOCUMENT\",\"name\":\"mailtenant-%s\",", version
    printf "\"documentNamespace\":\"https://mailtenant.dev/spdx/mailtenant-%s-%s\",", version, digest
    printf "\"creationInfo\":{\"created\":\"%s\",\"creators\":[\"Tool: config/image/sbom.sh\"]},\n\"packages\":[", created
    package("SPDXRef-mailtenant", "mailtenant", version, "Apache-2.0", "pkg:cargo/mailtenant@" version)
  }
  {
    id = "SPDXRef-" $1 "-" $2 "-" $3
    gsub(/[^A-Za-z0-9.-]/, "-", id)
    plain = $3
    gsub(/\+/, "%2B", plain)
    package(id, $2, $3, $4, "pkg:" ($1 == "deb" ? "deb/debian" : $1) "/" $2 "@" plain, $5)
    related = related ",\n  {\"spdxElementId\":\"SPDXRef-mailtenant\",\"relationshipType\":\"CONTAINS\",\"relatedSpdxElement\":\"" id "\"}"
  }
  END {
    printf "],\n\"relationships\":[\n  {\"spdxElementId\":\"SPDXRef-DOCUMENT\",\"relationshipType\":\"DESCRIBES\",\"relatedSpdxElement\":\"SPDXRef-mailtenant\"}%s]}\n", related
  }' >"$OUT.new"
mv "$OUT.new" "$OUT"
