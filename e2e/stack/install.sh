#!/usr/bin/env bash
# Installs the Debian packages that the tests need and that are missing; does nothing when all are there. Starts no service.
# usage: install.sh [--node | PACKAGE...]      --node: those of a node too; PACKAGE: nothing but these
# For Debian 12, as root. This is the only list of packages: what other scripts and tests name stands in it.
set -euo pipefail
WANTED=(
  sogo dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved dovecot-pgsql
  postfix postfix-pgsql postgresql memcached opendkim libopendbx1-pgsql
  pdns-server pdns-backend-sqlite3 sqlite3 bind9 knot dnsutils gettext-base
  python3 python3-dkim curl openssl ca-certificates procps util-linux gcc libc6-dev
  lua5.1 git socat postfix-mta-sts-resolver rspamd
)
NODE=(containerd runc containernetworking-plugins iproute2)
case "${1:-}" in
'') ;;
--node) WANTED+=("${NODE[@]}") ;;
*) WANTED=("$@") ;;
esac
missing=()
for p in "${WANTED[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
  echo "missing Debian packages, to be installed as root: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}"
# dpkg's own lock would make a second run fail rather than wait.
exec 9>/var/lock/mailtenant-install.lock
flock 9
# Packages would start their services: policy-rc.d forbids it (Debian Policy 9.3.3). One that is there already stays.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
# PostgreSQL's package would make a cluster of its own; ours lives in the stack's folder.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
export DEBIAN_FRONTEND=noninteractive
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
apt-get -q update
apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 "${missing[@]}"
