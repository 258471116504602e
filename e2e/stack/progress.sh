# shellcheck shell=bash
# Sourced: long commands in the background, with a line when each begins, every 30 s while it runs, and when it has ended.
# job NAME USUALLY DETAIL COMMAND...   starts one; DETAIL LOG prints how far it is
# await_jobs                           waits for all that were started; fails, with the end of its log, if one failed
# end_jobs                             ends those that still run, with all that they started
# section TITLE [USUALLY], section_end a headline, the same line every 30 s below it, and how long it took
TELL_EVERY=30
STARTED=$SECONDS
JOBS=()
JOB_LOGS=$(mktemp -d)
declare -A JOB_NAME JOB_DETAIL JOB_SINCE JOB_TOLD

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
tell() { printf '  [%s] %s\n' "$(clock $((SECONDS - STARTED)))" "$*"; }
last_line() { tail -n 1 "$1" | cut -c1-100; }

job() {
  local name=$1 usually=$2 detail=$3 pid
  shift 3
  tell "$name: begins (usually $usually)"
  # A process group of its own: it can be ended with all that it started, and no child of it is left when it ends.
  setsid "$@" >"$JOB_LOGS/$name" 2>&1 </dev/null &
  pid=$!
  JOBS+=("$pid")
  JOB_NAME[$pid]=$name JOB_DETAIL[$pid]=$detail JOB_SINCE[$pid]=$SECONDS JOB_TOLD[$pid]=$SECONDS
}

await_jobs() {
  local pid name still
  while [ ${#JOBS[@]} -gt 0 ]; do
    still=()
    for pid in "${JOBS[@]}"; do
      name=${JOB_NAME[$pid]}
      if kill -0 "$pid" 2>/dev/null; then
        still+=("$pid")
        [ $((SECONDS - JOB_TOLD[$pid])) -ge "$TELL_EVERY" ] || continue
        JOB_TOLD[$pid]=$SECONDS
        tell "$name: $(clock $((SECONDS - JOB_SINCE[$pid]))) so far, $("${JOB_DETAIL[$pid]}" "$JOB_LOGS/$name")"
      elif wait "$pid"; then
        tell "$name: took $(clock $((SECONDS - JOB_SINCE[$pid])))"
      else
        tell "$name: failed after $(clock $((SECONDS - JOB_SINCE[$pid]))). The end of what it said:" >&2
        tail -n 40 "$JOB_LOGS/$name" >&2
        return 1
      fi
    done
    JOBS=("${still[@]}")
    [ ${#JOBS[@]} -eq 0 ] || sleep 0.2
  done
}

# A process that was just started has no group of its own yet, and is still this shell with its EXIT trap: not killed then.
end_group() { until kill -- "-$1" 2>/dev/null || ! kill -0 "$1" 2>/dev/null; do sleep 0.01; done; }

end_jobs() {
  local pid
  for pid in "${JOBS[@]}"; do end_group "$pid"; done
  # What they started they may have to end themselves.
  for pid in "${JOBS[@]}"; do wait "$pid" 2>/dev/null || true; done
  JOBS=()
  rm -rf "$JOB_LOGS"
}

SECTION_SINCE=0 TICKER=''
section() { # TITLE [USUALLY]
  section_end
  printf '\n\033[1m%s\033[0m%s\n' "$1" "${2:+ (usually $2)}"
  SECTION_SINCE=$SECONDS
  # shellcheck disable=SC2016
  setsid bash -c 'while sleep "$1"; do n=$((n + $1)); echo "  … $n s so far"; done' ticker "$TELL_EVERY" </dev/null &
  TICKER=$!
}
section_end() {
  [ -n "$TICKER" ] || return 0
  end_group "$TICKER"
  wait "$TICKER" 2>/dev/null || true
  TICKER=''
  tell "took $(clock $((SECONDS - SECTION_SINCE)))"
}
