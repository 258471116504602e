# shellcheck shell=bash
# Sourced by the scripts here: ports, waiting, ending. No side effects.
PATH="$PATH:/usr/local/go/bin:$HOME/.cargo/bin:/usr/sbin:/sbin"
MAILTENANT_CACHE="${MAILTENANT_CACHE:-$HOME/.cache/mailtenant}"

# Ports of this machine on which something listens, one a line. Reads the kernel's table: connecting would leave traces in logs.
listening_ports() {
  local address state
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _; do
    [ "$state" = 0A ] && echo $((16#${address##*:}))
  done
  return 0
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds, else says what did not come up.
wait_for() {
  local until=$(($(date +%s) + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -ge "$until" ] && { echo "$what did not come up" >&2; return 1; }
    sleep 0.1
  done
}

# end_pid PID WORD: ends a process by its id, if its command line still has WORD in it (ids are used again).
end_pid() {
  local p=$1 word=$2
  ours() { { tr '\0' ' ' <"/proc/$p/cmdline"; } 2>/dev/null | grep -qF -- "$word"; }
  ours || return 0
  kill "$p" 2>/dev/null || return 0
  for _ in $(seq 1 50); do ours || return 0; sleep 0.1; done
  kill -9 "$p" 2>/dev/null || true
}

# end_with_owner PID WORD: with OWNER_PID set, ends a process once that one has ended, however it did (a test that was killed ends
# nothing itself).
end_with_owner() {
  [ -n "${OWNER_PID:-}" ] || return 0
  # shellcheck disable=SC2016  # expanded by the shell that is started
  setsid bash -c 'while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 0.5; done; . "$4"; end_pid "$2" "$3"' \
    end_with_owner "$OWNER_PID" "$1" "$2" "${BASH_SOURCE[0]}" >/dev/null 2>&1 </dev/null &
}

# Ports are counted from a base that nobody else has: a folder per base, made by mkdir (which is atomic), says who has it.
# A folder whose stack is gone is taken over. MAILTENANT_PORTS=FROM-TO bounds the choice.
PORT_CLAIMS="${TMPDIR:-/tmp}/mailtenant-ports"
PORT_SPAN=1000
claim_ports() { # ROOT -> prints the base
  local range="${MAILTENANT_PORTS:-20000-31999}" from to base other
  from=${range%-*} to=${range#*-}
  mkdir -p "$PORT_CLAIMS"
  for ((base = from; base + PORT_SPAN - 1 <= to; base += PORT_SPAN)); do
    if ! mkdir "$PORT_CLAIMS/$base" 2>/dev/null; then
      other=$(cat "$PORT_CLAIMS/$base/root" 2>/dev/null) || continue
      [ -e "$other/pids.stack" ] && kill -0 "$(head -1 "$other/pids.stack")" 2>/dev/null && continue
      [ -n "$(find "$PORT_CLAIMS/$base" -maxdepth 0 -mmin -2)" ] && continue
      echo "$1" >"$PORT_CLAIMS/$base/root"; touch "$PORT_CLAIMS/$base"
      sleep 0.2; [ "$(cat "$PORT_CLAIMS/$base/root")" = "$1" ] || continue
    fi
    echo "$1" >"$PORT_CLAIMS/$base/root"
    if listening_ports | while read -r port; do
      [ "$port" -lt "$base" ] || [ "$port" -ge $((base + PORT_SPAN)) ] || echo taken
    done | grep -q taken; then
      rm -rf "${PORT_CLAIMS:?}/$base"
      continue
    fi
    echo "$base"; return 0
  done
  echo "no free block of $PORT_SPAN ports in $range: end other stacks, or set MAILTENANT_PORTS=FROM-TO" >&2
  return 1
}
free_ports() { # ROOT
  local claim
  for claim in "$PORT_CLAIMS"/*/root; do
    [ -e "$claim" ] && [ "$(cat "$claim")" = "$1" ] && rm -rf "$(dirname "$claim")"
  done
  return 0
}
