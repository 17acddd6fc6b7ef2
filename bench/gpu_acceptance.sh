#!/bin/bash
# Everything that a GPU has to show, in one run: bench/gpu_acceptance.sh [--build DIR] [--oracle COMMAND] [--quick]
#
#   --build DIR        where to build (build/gpu)
#   --oracle COMMAND   a comparison with other implementations: run with NATRIX (the program) and NATRIX_BACKEND
#                      (cuda) in its environment, once for each NATRIX_DTYPE fp32 and bf16; it passes with status 0
#   --quick            leave out compute-sanitizer, which takes most of the time
#
# Prints a table of what passed and failed, and measures; each step's output is in DIR/acceptance. Exit status: 0
# all passed, 1 something failed, 2 there is no GPU here, or no nvcc.
# shellcheck disable=SC2317 # functions are called by step
set -u
cd "$(dirname "$0")/.." || exit 1

build=build/gpu oracle="" quick=no
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --oracle) oracle=$2; shift 2 ;;
    --quick) quick=yes; shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done

if ! command -v nvidia-smi > /dev/null || ! nvidia-smi -L 2> /dev/null | grep -q GPU; then
  echo "gpu_acceptance: no GPU answers on this machine (nvidia-smi); what can be shown without one:" >&2
  echo "  cmake --preset cuda-emulated && cmake --build --preset cuda-emulated && ctest --preset cuda-emulated" >&2
  exit 2
fi
if ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  echo "gpu_acceptance: nvcc is neither on the PATH nor in /usr/local/cuda/bin; install the CUDA toolkit" >&2
  exit 2
fi
PATH=$PATH:/usr/local/cuda/bin

build=$(realpath -m "$build")
logs=$build/acceptance
mkdir -p "$logs"
table="" failed=0

log_of() { echo "$logs/${1//[ ,]/_}.log"; }
# step NAME COMMAND…: runs it, keeps its output, adds a line to the table.
step() {
  local name=$1 log begin status=FAIL
  shift
  log=$(log_of "$name")
  begin=$SECONDS
  echo "== $name" >&2
  if "$@" > "$log" 2>&1; then status=pass; else failed=1; tail -n 20 "$log" >&2; fi
  table+=$(printf '%-34s %-5s %6d s  %s' "$name" $status $((SECONDS - begin)) "$log")$'\n'
}
# measure NAME: the last line of that step's output joins the table.
measure() {
  table+="    $(tail -n 1 "$(log_of "$1")")"$'\n'
}

configure() {
  cmake --preset release -B "$build" -DNATRIX_CUDA=on -DNATRIX_CUDA_ARCHITECTURES=native
}
# Kernel tests hand kernels memory of the host; where a GPU cannot read it they say so, and are left out.
kernels() {
  "$build/tests/test_kernels" --gtest_list_tests 2>&1 | tee /dev/stderr | grep -q cuda
}
tests() {
  ctest --test-dir "$build" --output-on-failure -R '[Cc]uda' -LE slow
}
sanitize() {
  cmake --build "$build" --target "cuda_$1"
}
# 50 steps of the shape of Mamba-130M, on the bytes of this documentation; the last line of its metrics.
train() {
  local run=$logs/train-$1
  rm -rf "$run"
  cat > "$logs/train.yaml" << YAML
model: {pattern: M, repeat: 24, d_model: 768, mamba: {inner_norms: false}}
sequence: {length: 2048, chunk: 2048}
data: {train: [$PWD/docs]}
train: {steps: 50, batch_size: 8, eval_every: 0}
checkpoint: {every: 0}
log: {every: 10}
YAML
  "$build/launch/natrix" train "$logs/train.yaml" run.dir="$run" device.backend=cuda device.dtype="$1" || return 1
  tail -n 1 "$run/metrics.jsonl"
}
generate() {
  "$build/launch/natrix" generate "$logs/train-$1" --backend cuda --dtype "$1" -p "In the beginning" -n 256 --temp 0 \
    --ignore-eos --json --quiet
}
compare() {
  NATRIX=$build/launch/natrix NATRIX_BACKEND=cuda NATRIX_DTYPE=$1 sh -c "$oracle"
}

nvidia-smi -L >&2
step "configure" configure
step "build" cmake --build "$build" -j "$(nproc)"
step "kernels can be tested" kernels
step "tests on the device" tests
[ -z "$oracle" ] || for dtype in fp32 bf16; do step "oracle, $dtype" compare $dtype; done
if [ $quick = no ]; then
  for tool in memcheck racecheck initcheck; do step "compute-sanitizer $tool" sanitize $tool; done
fi
for dtype in fp32 bf16; do
  step "train, $dtype" train $dtype
  measure "train, $dtype"
  step "generate, $dtype" generate $dtype
  measure "generate, $dtype"
done

printf '\n%s\n' "$table"
exit $failed
