#!/usr/bin/env bash
# Installs a built Natrix to a scratch prefix, builds the examples against it outside of the tree, and runs them:
#
#   tests/interop/install/check.sh BUILD_DIR
set -euo pipefail
build=$1
root=$(cd "$(dirname "$0")/../../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "$1" >&2
  exit 1
}

cmake --install "$build" --prefix "$scratch/here" >/dev/null
mv "$scratch/here" "$scratch/there"  # an installed tree may move
natrix=$scratch/there/bin/natrix
"$natrix" --version
! grep -rn "$root/" "$scratch/there" --include=*.cmake || fail "the installed package points into the source tree"
[[ $(cd "$scratch/there/include" && find . -type f) == ./natrix/natrix.h ]] || fail "other headers than the public one"

cp -r "$root/examples" "$scratch/examples"
cmake -G Ninja -S "$scratch/examples" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$scratch/there" \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror" >/dev/null
cmake --build "$scratch/build" -j2

cd "$scratch"
for _ in {1..40}; do echo "In the beginning God created the heaven and the earth. "; done >book.txt
cat >train.yaml <<'EOF'
run: {dir: run}
model: {pattern: ME, repeat: 1, d_model: 16, moe: {num_experts: 2, top_k: 1, d_ff: 16}}
sequence: {length: 32, chunk: 16}
data: {train: [book.txt], tokenizer: bytes}
train: {steps: 2, batch_size: 2}
optimizer: {warmup_steps: 1}
EOF
"$natrix" train train.yaml --quiet

# The flags' defaults are the options'.
text="In the beginning"
./build/generate run "$text" >api.txt
"$natrix" generate run -p "$text" -n 200 --quiet >program.txt
cmp api.txt program.txt || fail "the example writes another text than natrix generate"

./build/long_file run book.txt book.state >answers.txt
grep -q "How does it end" answers.txt || fail "long_file asks nothing"
"$natrix" generate run -f book.txt -n 0 --state-out program.state --quiet
cmp book.state program.state || fail "long_file saves another state than natrix generate"

./build/train_chunks run "$(head -c 200 book.txt)" trained >steps.txt
awk '{ loss[NR] = $4 } END { exit !(NR == 20 && loss[20] < loss[1]) }' steps.txt || fail "train_chunks learns nothing"
"$natrix" generate trained -p "$text" -n 5 --quiet >/dev/null

status=0
./build/generate nothing "$text" 2>error.txt || status=$?
[[ $status == 2 && -s error.txt ]] || fail "a model that is not there ends with status $status"
