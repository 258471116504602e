#!/usr/bin/env bash
# Starts PostgreSQL, memcached, Dovecot, Postfix and SOGo in one folder, without
# systemd, on loopback ports counted from a base. Needs root (Postfix's master
# and the switch of users do) and Debian's packages:
#   sogo dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved dovecot-pgsql
#   postfix postfix-pgsql postgresql memcached
#   opendkim libopendbx1-pgsql
# Usage: up.sh ROOT [PORT_BASE]      then: . ROOT/env ; down.sh ROOT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
conf=$(cd "$here/../../../config/groupware/sogo" && pwd)
ROOT=$(mkdir -p "$1" && cd "$1" && pwd); B=${2:-25000}
[ -e "$ROOT/env" ] && { echo "$ROOT is already set up: down.sh it and remove it first" >&2; exit 1; }
PGBIN=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
t0=$(date +%s%N); lap() { printf '%6d ms  %s\n' $(( ($(date +%s%N) - t0) / 1000000 )) "$1"; }

declare -A V=( [ROOT]=$ROOT [VMAIL_UID]=5000 [API_KEY]=${DOVEADM_API_KEY:-doveadm-secret} [DB_USER]=mailtenant [DB_PASSWORD]=${DB_PASSWORD:-db-secret}
  [P_SMTP]=$((B+25)) [P_LMTP]=$((B+24)) [P_SINK]=$((B+26)) [P_SOGO]=$((B+20)) [P_DOVEADM]=$((B+80)) [P_METRICS]=$((B+90))
  [P_IMAP]=$((B+143)) [P_IMAP_SOGO]=$((B+144)) [P_POP3]=$((B+110)) [P_SIEVE_SOGO]=$((B+191)) [P_SUBMIT_SOGO]=$((B+588)) [P_SUBMIT_SIEVE]=$((B+589)) [P_SIEVE]=$((B+190)) [P_PG]=$((B+432)) [P_SUBMIT]=$((B+587)) [P_SASL]=$((B+12)) [P_QUOTA]=$((B+13)) [P_MEMCACHED]=$((B+211)) [P_DKIM]=$((B+17)) [P_DKIM_ED25519]=$((B+18)) )
mkdir -p "$ROOT"/{etc,log,run,run/sogo,vmail,postfix/queue,postfix/data,postfix/etc,sogo/home}
chmod 755 "$ROOT" "$ROOT"/{etc,run,log}
render() { local s=; for k in "${!V[@]}"; do s+="s|@$k@|${V[$k]}|g;"; done; sed "$s" "$conf/templates/$1.in" > "$2"; }
for f in opendkim.conf opendkim-ed25519.conf opendkim-author.lua dovecot.conf dovecot-sql.conf.ext dovecot-sql-app.conf.ext dovecot-dict-quota.conf.ext sogo.args; do render "$f" "$ROOT/etc/$f"; done
for f in "$conf"/templates/pg-*.cf.in; do n=$(basename "$f" .in); render "$n" "$ROOT/etc/$n"; done
for f in main.cf master.cf; do render "$f" "$ROOT/postfix/etc/$f"; done
{ for k in "${!V[@]}"; do echo "GW_$k=${V[$k]}"; done; } | sort > "$ROOT/env"

# PostgreSQL (never as root)
install -d -o postgres -g postgres -m 700 "$ROOT/pg" "$ROOT/run/pg"
runuser -u postgres -- "$PGBIN/initdb" -D "$ROOT/pg" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$ROOT/log/initdb.log"
runuser -u postgres -- "$PGBIN/pg_ctl" -s -w -D "$ROOT/pg" -l "$ROOT/pg/log" \
  -o "-p ${V[P_PG]} -k $ROOT/run/pg -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB -c max_connections=200 -c shared_preload_libraries=pg_stat_statements" start
# the operator signs in by password, as a role that owns the tables and nothing else
{ echo "host all mailtenant 127.0.0.1/32 scram-sha-256"; cat "$ROOT/pg/pg_hba.conf"; } > "$ROOT/pg_hba.new"
cat "$ROOT/pg_hba.new" > "$ROOT/pg/pg_hba.conf"; rm "$ROOT/pg_hba.new"
runuser -u postgres -- "$PGBIN/pg_ctl" -s -D "$ROOT/pg" reload
psql() { command psql -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "${V[P_PG]}" -U postgres "$@"; }
psql -d postgres -c "CREATE ROLE mailread LOGIN PASSWORD 'mailread'" -c "CREATE ROLE sogo LOGIN PASSWORD 'sogo'" -c "CREATE ROLE mailtenant LOGIN CREATEDB PASSWORD '${V[DB_PASSWORD]}'" -c "GRANT sogo TO mailtenant" -c "CREATE DATABASE groupware OWNER mailtenant"
PGOPTIONS="-c role=mailtenant" psql -1 -d groupware -f "$conf/schema.sql" -f "$conf/usage.sql" -f "$conf/views.sql" -f "$conf/grants.sql" 2>>"$ROOT/log/schema.log"
lap postgresql

# memcached: SOGo runs without it, but then nothing is cached and the delay a
# changed password has in production does not show
chown sogo:sogo "$ROOT/run/sogo" "$ROOT/sogo/home"; : > "$ROOT/log/sogo.log"; chown sogo "$ROOT/log/sogo.log"
install -d -o memcache -g memcache -m 755 "$ROOT/run/memcached"
memcached -d -u memcache -m 16 -l 127.0.0.1 -p "${V[P_MEMCACHED]}" -U 0 -P "$ROOT/run/memcached/pid"

# Dovecot
install -d -o 5000 -g 5000 -m 750 "$ROOT/vmail"
dovecot -c "$ROOT/etc/dovecot.conf"
lap dovecot

# OpenDKIM: keys come from SQL, row by row, with no reload
opendkim -x "$ROOT/etc/opendkim.conf"
opendkim -x "$ROOT/etc/opendkim-ed25519.conf"

# Postfix
chown postfix "$ROOT/postfix/data"
postfix -c "$ROOT/postfix/etc" start 2>>"$ROOT/log/postfix-start.log" >&2
lap postfix

# SOGo: /etc/sogo/sogo.conf beats a defaults file in HOME, but arguments beat both
sogo_args=(); while read -r k v; do [ -n "$k" ] && sogo_args+=("-$k" "$v"); done < "$ROOT/etc/sogo.args"
runuser -u sogo -- env -C "$ROOT/sogo/home" HOME="$ROOT/sogo/home" /usr/sbin/sogod "${sogo_args[@]}" >>"$ROOT/log/sogo.out" 2>&1

wait_port() { for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.05; done; echo "nothing on port $1" >&2; return 1; }
for p in P_SMTP P_SUBMIT P_SUBMIT_SIEVE P_DKIM P_DKIM_ED25519 P_IMAP P_POP3 P_LMTP P_DOVEADM P_SIEVE P_SOGO; do wait_port "${V[$p]}"; done
for _ in $(seq 100); do [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:${V[P_SOGO]}/SOGo/")" = 200 ] && break; sleep 0.1; done
# Both workers: one that is still starting accepts a connection and resets it.
for _ in $(seq 100); do [ "$(grep -c 'notified the watchdog that we are ready' "$ROOT/log/sogo.log")" -ge 2 ] && break; sleep 0.1; done
lap "sogo; all up"
