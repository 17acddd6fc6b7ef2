#!/bin/bash
# Tests and measures everything on a GPU, in one run: bench/gpu_acceptance.sh [--build DIR] [--oracle COMMAND] [--quick]
#
#   --build DIR        where to build (build/gpu)
#   --oracle COMMAND   a comparison with other implementations. It runs once for each NATRIX_DTYPE fp32 and bf16, with
#                      NATRIX (the program) and NATRIX_BACKEND (cuda) in its environment, and passes with status 0
#   --quick            leave out compute-sanitizer, which takes most of the time
#   --rehearse         run the same steps without a GPU, small, on the emulated device; the figures mean nothing
#
# Prints a table of steps that passed or failed. The output of each step is in DIR/acceptance, and the figures are in
# bench/results/GPU.md with the date (for a rehearsal in DIR/acceptance). Exit status: 0 all passed, 1 something
# failed, 2 there is no GPU or no nvcc here.
# shellcheck disable=SC2317 # functions are called by step
set -u
cd "$(dirname "$0")/.." || exit 1

build=build/gpu oracle="" quick=no rehearse=no
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --oracle) oracle=$2; shift 2 ;;
    --quick) quick=yes; shift ;;
    --rehearse) rehearse=yes quick=yes; shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done

if [ $rehearse = yes ]; then
  :
elif ! command -v nvidia-smi > /dev/null || ! nvidia-smi -L 2> /dev/null | grep -q GPU; then
  echo "gpu_acceptance: no GPU answers on this machine (nvidia-smi); what can be shown without one:" >&2
  echo "  cmake --preset cuda-emulated && cmake --build --preset cuda-emulated && ctest --preset cuda-emulated" >&2
  exit 2
elif ! command -v nvcc > /dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
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
  table+=$(printf '%-34s %-5s %6d s  %s' "$name" $status $((SECONDS - begin)) "${log#"$PWD"/}")$'\n'
}
# measure NAME: adds the last line of that step's output to the table.
measure() {
  table+="    $(tail -n 1 "$(log_of "$1")")"$'\n'
}

# size GPU SMALL: the first size, or the second in a rehearsal.
size() { if [ $rehearse = yes ]; then echo "$2"; else echo "$1"; fi; }

gpu=$(size "$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -n 1)" emulation)
results=$(size "bench/results" "$logs")/$(echo "$gpu" | tr 'A-Z ' 'a-z-').md
configure() {
  cmake --preset release -B "$build" -DNATRIX_BENCH=ON "$(size -DNATRIX_CUDA=on -DNATRIX_CUDA=emulated)" \
    -DNATRIX_CUDA_ARCHITECTURES=native
}
# Checks that the tests find the device. Without it they would skip its part and pass.
kernels() {
  "$build/tests/test_kernels" --gtest_list_tests 2>&1 | tee /dev/stderr | grep -q cuda
}
tests() {
  ctest --test-dir "$build" --output-on-failure -R "$(size '[Cc]uda' 'Bf16Cuda|Norm.*/cuda')" -LE slow
}
sanitize() {
  cmake --build "$build" --target "cuda_$1"
}
# Measures kernels and whole models against the device's own ceilings, and adds their tables to the results.
bench() {
  local small="T 40 "
  case $1 in matmul) small='T 16  48 -> 1536' ;; model) small='prefill/quickstart  T 64' ;; esac
  if [ $rehearse = no ]; then
    "$build/bench/bench_$1" --backend cuda
  else
    "$build/bench/bench_$1" --backend cuda --quick --benchmark_filter="$small"
  fi
}
# $1 random bytes, none of which ends a document.
random_text() { head -c "$1" /dev/urandom | tr '\0' '\1'; }
# One exact step over a million tokens: tokens a second, and the device's memory.
long_step() {
  local run=$logs/long tokens
  tokens=$(size 1048576 256)
  rm -rf "$run"
  random_text $((2 * tokens)) > "$logs/long.bin"
  "$build/launch/natrix" train configs/quickstart.yaml run.dir="$run" "data.train=[$logs/long.bin]" "data.eval=[]" \
    data.documents=joined sequence.length="$tokens" sequence.chunk="$(size 8192 64)" model.repeat="$(size 8 1)" \
    train.steps=1 train.batch_size=1 train.micro_batch_size=1 train.eval_every=0 optimizer.warmup_steps=0 \
    checkpoint.every=0 log.every=1 device.backend=cuda device.dtype=bf16 || return 1
  tail -n 1 "$run/metrics.jsonl"
}
# A prompt of ten million tokens: tokens a second, and the device's memory.
long_prompt() {
  random_text "$(size 10000000 300)" > "$logs/prompt.bin"
  "$build/launch/natrix" generate "$logs/long" --backend cuda --dtype bf16 -f "$logs/prompt.bin" -n 0 --ignore-eos \
    --chunk "$(size 8192 64)" --json --quiet
}
# The same model in mamba_ssm, if a Python on this machine has it.
mamba_ssm() {
  python3 bench/compare/mamba_ssm_peer.py || [ $? -eq 3 ]  # 3: it is not installed
}
# Trains the shape of Mamba-130M for 50 steps on the bytes of this documentation. Prints the last line of its metrics.
train() {
  local run=$logs/train-$1
  rm -rf "$run"
  cat > "$logs/train.yaml" << YAML
model: {pattern: M, repeat: $(size 24 1), d_model: $(size 768 32), mamba: {inner_norms: false}}
sequence: {length: $(size 2048 64), chunk: $(size 2048 64)}
data: {train: [$PWD/docs]}
train: {steps: $(size 50 2), batch_size: $(size 8 1), eval_every: 0}
checkpoint: {every: 0}
log: {every: 1}
YAML
  "$build/launch/natrix" train "$logs/train.yaml" run.dir="$run" device.backend=cuda device.dtype="$1" || return 1
  tail -n 1 "$run/metrics.jsonl"
}
generate() {
  "$build/launch/natrix" generate "$logs/train-$1" --backend cuda --dtype "$1" -p "In the beginning" -n "$(size 256 4)" --temp 0 \
    --ignore-eos --json --quiet
}
compare() {
  NATRIX=$build/launch/natrix NATRIX_BACKEND=cuda NATRIX_DTYPE=$1 sh -c "$oracle"
}

[ $rehearse = yes ] || nvidia-smi -L >&2
step "configure" configure
step "build" cmake --build "$build" -j "$(nproc)"
step "tests find the device" kernels
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
for family in scan conv dense matmul routing model; do
  step "bench $family" bench $family
done
step "a step of 1,048,576 tokens" long_step
measure "a step of 1,048,576 tokens"
step "a prompt of 10,000,000 tokens" long_prompt
measure "a prompt of 10,000,000 tokens"
step "mamba_ssm" mamba_ssm
measure "mamba_ssm"

report() {
  echo "# $gpu, $(date +%F)"
  echo
  local driver
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2> /dev/null | head -n 1)
  echo "Made by \`bench/gpu_acceptance.sh\` at commit $(git rev-parse --short HEAD)${driver:+, driver $driver}."
  echo
  echo '```'
  echo "$table"
  echo '```'
  for family in scan conv dense matmul routing model; do
    printf '\n## bench_%s\n\n```\n' $family
    grep -v '^\(20\|Run on\|\*\*\*\)' "$(log_of "bench $family")"
    echo '```'
  done
}
report > "$results"
printf '\n%s\nfigures: %s\n' "$table" "$results"
exit $failed
