#!/usr/bin/env bash
# Runs a command, such as a test of a Kubernetes node, in Linux namespaces of its own: it sees a network, processes, mounts, a host name
# and cgroups that nobody else has, and the files of this machine.
# usage: machine.sh ROOT WITH_PID COMMAND...     ROOT: a folder that is removed at the end (KEEP_ROOT=1 keeps it)
# When the command has ended, or the process WITH_PID, the kernel ends everything that was started in it, with its mounts and
# network; the cgroups are removed here. Nothing of this machine is changed, so several of them do not meet. Where ROOT ends in
# -WITH_PID, folders and cgroups that earlier runs left, because this script was killed too, are removed at the start.
# Needs root, and a kernel that has namespaces, overlayfs, bridges, veth and the cgroups that kubelet wants. What is missing is said.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
. "$HERE/../lib.sh"
die() { echo "no node can run here: $*" >&2; exit 1; }
[ $# -ge 3 ] || { sed -n 2,8p "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || die "it needs root"
mkdir -p "$1"
ROOT="$(cd "$1" && pwd)" WITH_PID=$2
shift 2
chmod 755 "$ROOT"
CGROUP="/${ROOT##*/}"
# One folder in each hierarchy of version 1, or one in that of version 2.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then HIERARCHIES=(/sys/fs/cgroup); else HIERARCHIES=(/sys/fs/cgroup/*/); fi

# remove_cgroups /NAME: with those below it. Prints what is left, because a process in it has not ended yet.
remove_cgroups() {
  local h
  for h in "${HIERARCHIES[@]}"; do
    [ ! -d "${h%/}$1" ] || find "${h%/}$1" -depth -type d -exec rmdir {} + 2>/dev/null || echo "${h%/}$1"
  done
}

# remove_leftovers: what has ROOT's name but for the number at its end, if that is the id of no process.
remove_leftovers() {
  local stem=${ROOT%-"$WITH_PID"} path pid h paths=()
  [ "$stem" != "$ROOT" ] || return 0
  paths=("$stem"-*)
  for h in "${HIERARCHIES[@]}"; do paths+=("${h%/}/${stem##*/}"-*); done
  for path in "${paths[@]}"; do
    pid=${path##*-}
    if ! [[ $pid =~ ^[0-9]+$ ]] || [ -e "/proc/$pid" ] || [ -e "$stem-$pid/keep" ]; then continue; fi
    remove_cgroups "/${stem##*/}-$pid" >/dev/null
    rm -rf "$stem-$pid"
  done
}

born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
machine=''
# Called by the trap.
# shellcheck disable=SC2317
end() {
  # Its child, pid 1 in there, gets KILL from the kernel, and everything else with it.
  if [ -n "$machine" ]; then
    kill -9 "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
  fi
  local left=''
  for _ in $(seq 100); do
    left="$(remove_cgroups "$CGROUP")"
    [ -n "$left" ] || break
    sleep 0.1
  done
  [ -z "$left" ] || echo "this cgroup could not be removed: $left" >&2
  if [ -n "${KEEP_ROOT:-}" ]; then touch "$ROOT/keep"; else rm -rf "$ROOT"; fi
}
trap end EXIT
trap 'exit 143' TERM INT HUP

grep -qw overlay /proc/filesystems || die "the kernel has no overlayfs"
[ -n "$(ls /sys/fs/cgroup 2>/dev/null)" ] || die "no cgroups are mounted on /sys/fs/cgroup"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  for c in cpu cpuset memory pids; do
    grep -qw "$c" /sys/fs/cgroup/cgroup.controllers || die "the cgroup controller $c is not to be had"
    grep -qw "$c" /sys/fs/cgroup/cgroup.subtree_control || echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control || die "the cgroup controller $c cannot be given to a node"
  done
else
  for c in cpu cpuset memory pids; do [ -e "/sys/fs/cgroup/$c/cgroup.procs" ] || die "the cgroup controller $c is not mounted on /sys/fs/cgroup/$c"; done
fi
remove_leftovers
for h in "${HIERARCHIES[@]}"; do
  mkdir -p "${h%/}$CGROUP" || die "no cgroup can be made in $h"
  # A new cpuset of version 1 has no processors until it is given some.
  for f in cpuset.cpus cpuset.mems; do
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ ! -f "$h$f" ] || cat "$h$f" >"${h%/}$CGROUP/$f"
  done
done
unshare --mount --net --pid --uts --ipc --fork true || die "namespaces cannot be made"

# Sockets, and the folders that say which ports are taken, are those of this run.
export TMPDIR="$ROOT" MAILTENANT_CGROUP="$CGROUP"
setpriv --pdeathsig KILL unshare --mount --propagation private --net --pid --uts --ipc --fork --kill-child=KILL --mount-proc \
  bash "$HERE/inside.sh" "$ROOT" "$@" </dev/null &
machine=$!
since=$(born "$WITH_PID")
while [ -n "$since" ] && [ "$(born "$WITH_PID")" = "$since" ] && kill -0 "$machine" 2>/dev/null; do sleep 0.2; done
kill -0 "$machine" 2>/dev/null && exit 1
code=0
wait "$machine" || code=$?
machine=''
exit "$code"
