#!/usr/bin/env bash
# Trains on several ranks of this machine, or of the hosts of a hostfile:
#
#   launch/mpirun.sh -n 4 [--hostfile FILE] [--threads N] train CONFIG.yaml [section.key=value …]
#
#   --hostfile   lines "host slots=RANKS"; natrix, the data and run.dir lie under the same paths on all of them
#   --threads    of each rank; its part of the host's processors otherwise
#
# NATRIX names the program; natrix on the PATH, or the release build of this tree, otherwise.
# SIGUSR1, SIGTERM, SIGINT (Ctrl-C) or SIGHUP to this script saves and stops all ranks: status 75, and the same command
# goes on. But for SIGUSR1, what has not ended NATRIX_GRACE seconds (60) later is killed.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

ranks='' options=() threads=''
while [ $# -gt 0 ]; do
  case $1 in
    -n) ranks=$2; shift 2 ;;
    --hostfile) options+=(--hostfile "$2"); shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    *) break ;;
  esac
done
if [[ ! $ranks =~ ^[1-9][0-9]*$ || $# -eq 0 ]]; then
  echo "usage: $0 -n RANKS [--hostfile FILE] [--threads N] train CONFIG.yaml [section.key=value …]" >&2
  exit 2
fi

natrix=${NATRIX:-$(command -v natrix || echo "$here/build/release/launch/natrix")}
# Ranks are not bound: each runs its threads on any processor, and has as many threads as its share of them.
options+=(-n "$ranks" --bind-to none --oversubscribe)
# A host that no longer answers is lost to mpirun after some ten seconds; it would be seven minutes, and more.
options+=(--mca oob_tcp_keepalive_time 4 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3)
if [ "$(id -u)" -eq 0 ]; then options+=(--allow-run-as-root); fi
if [ -n "$threads" ]; then set -- "$@" "device.threads=$threads"; fi

# mpirun itself would take a SIGTERM for an order to kill, as it does a failure; what it hands on to all ranks is SIGUSR1.
# It stands in a process group of its own, which a terminal's Ctrl-C does not reach.
set -m
mpirun "${options[@]}" "$natrix" "$@" </dev/null &
job=$!
set +m
save_and_stop() {
  kill -USR1 "$job" 2>/dev/null || return 0
  (
    for ((second = 0; second < ${NATRIX_GRACE:-60}; ++second)); do
      sleep 1
      kill -0 "$job" 2>/dev/null || exit 0
    done
    kill -TERM "$job"
  ) >/dev/null 2>&1 &
}
trap 'kill -USR1 "$job"' USR1
trap save_and_stop TERM INT HUP
status=0
wait "$job" || status=$?
while kill -0 "$job" 2>/dev/null; do  # a signal ends the wait before the job has ended
  status=0
  wait "$job" || status=$?
done
exit "$status"
