#!/usr/bin/env bash
# Natrix from nothing, in about ten minutes on two cores: builds, trains a Mamba-MoE on real English, shows that it
# survives kill -9, reads a million bytes in one sequence, and goes on from that state in milliseconds.
# On Debian 12, as root or with sudo.
set -euo pipefail
cd "$(dirname "$0")/.."

run=runs/quickstart
natrix=build/release/launch/natrix
prompt="And it came to pass"
held_out=runs/data/kjv-held-out.txt

title() { printf '\n== %s ==\n' "$*"; }
sample() { "$natrix" generate "$run" --prompt "$prompt" -n 160 --temp 0.7 --seed 1 --quiet | sed 's/^/   | /'; }
json_number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p"; }  # of one line of JSON
wait_for_step() {  # until the newest checkpoint is at least step $1, while process $2 lives
  while kill -0 "$2" 2>/dev/null; do
    local at
    at=$(sed 's/step-0*//' "$run/checkpoints/latest" 2>/dev/null || true)
    [ "${at:-0}" -ge "$1" ] && return
    sleep 0.2
  done
}

title "packages and build"
launch/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target natrix
launch/kjv_text.sh

title "training, with a kill -9 in the middle"
rm -rf "$run"
"$natrix" train configs/quickstart.yaml &
trainer=$!
while [ ! -e "$run/checkpoints/latest" ]; do sleep 0.1; done
echo "-- before training, the model writes:"
sample
wait_for_step 140 "$trainer"
kill -9 "$trainer" 2>/dev/null || true
wait "$trainer" 2>/dev/null || true
echo "-- killed with -9. Midway, the model writes:"
sample
"$natrix" train configs/quickstart.yaml
echo "-- after training:"
sample

title "held-out text: bits per byte"
bytes=$(stat -c %s "$held_out")
for packer in "gzip -9" "xz -9e" "bzip2 -9"; do
  packed=$($packer -c "$held_out" | wc -c)
  awk -v n="$packer" -v p="$packed" -v b="$bytes" 'BEGIN { printf "   %-28s %.3f\n", n, 8 * p / b }'
done
for context in 1024 0; do
  bpb=$("$natrix" eval "$run" --data "$held_out" --context $context --json --quiet | json_number bits_per_byte)
  label=$([ $context = 0 ] && echo "the whole text in one sequence" || echo "context $context")
  printf '   %-28s %.3f\n' "natrix, $label" "$bpb"
done

title "a million bytes in one sequence, in memory that does not grow"
for n in 10000 1000000; do
  head -c $n runs/data/kjv-train.txt > runs/data/prefix.txt
  "$natrix" generate "$run" --prompt-file runs/data/prefix.txt -n 0 --state-out runs/data/prefix.state --json >runs/data/prefix.json
  awk -v n=$n -v m="$(json_number peak_memory_bytes <runs/data/prefix.json)" -v s="$(stat -c %s runs/data/prefix.state)" \
    'BEGIN { printf "   %8d bytes read: peak memory %.1f MiB, state file %d bytes\n", n, m / 1048576, s }'
done
echo "-- going on from the saved state:"
"$natrix" generate "$run" --state-in runs/data/prefix.state -n 160 --temp 0.7 --seed 1 | sed 's/^/   | /'

title "done"
echo "open $run/report.html; the log is $run/natrix.log; the model in $run/checkpoints opens in HF transformers"
