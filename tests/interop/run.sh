#!/usr/bin/env bash
# Trains three tiny models on this repository's sources and opens them with Hugging Face transformers; then opens what
# transformers made, twenty models of random shape, with natrix:
#
#   tests/interop/run.sh [NATRIX]
#
# torch and transformers come from PyPI: see launch/python_env.sh for where they go.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
natrix=${1:-$repository/build/release/launch/natrix}
python=$("$repository/launch/python_env.sh" interop torch transformers safetensors numpy)

runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
cat > "$runs/tiny.yaml" <<YAML
model: {pattern: M, d_model: 48, mlp: {d_ff: 80}, moe: {num_experts: 4, top_k: 2, d_ff: 80}}
sequence: {length: 256, chunk: 64}
data: {train: [$repository/core, $repository/kernels]}
train: {steps: 40, batch_size: 4}
optimizer: {lr: 5.0e-3, warmup_steps: 5}
device: {threads: 1}
YAML

check() {  # NAME OVERRIDES…
  local name=$1
  shift
  "$natrix" train "$runs/tiny.yaml" run.dir="$runs/$name" --quiet "$@"
  "$python" "$repository/tests/interop/transformers_roundtrip.py" "$natrix" "$runs/$name"
}

check mamba model.repeat=4 model.mamba.inner_norms=false
check jamba-every-layer model.pattern=ME model.repeat=3
check jamba-every-other-layer model.pattern=M-ME model.repeat=2 model.tie_embeddings=false model.moe.top_k=1
"$python" "$repository/tests/interop/random_models.py" "$natrix" --count 20
