#!/usr/bin/env bash
# Trains three tiny models on this repository's sources and opens them with Hugging Face transformers; then opens what
# transformers made, twenty models of random shape, with natrix:
#
#   tests/interop/run.sh [NATRIX]
#
# PYTHON names an interpreter that has torch, transformers, safetensors and numpy; without it a virtual environment with
# them is made outside of the repository, in $VENV (default ~/.cache/natrix/interop), which downloads a gigabyte once.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
natrix=${1:-$repository/build/release/launch/natrix}

if [ -z "${PYTHON:-}" ]; then
  venv=${VENV:-$HOME/.cache/natrix/interop}
  PYTHON=$venv/bin/python
  if ! "$PYTHON" -c 'import safetensors, torch, transformers' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # PyPI's own torch brings CUDA along, three gigabytes; it serves where the other index cannot be reached.
    "$venv/bin/pip" install --quiet torch --index-url https://download.pytorch.org/whl/cpu ||
      "$venv/bin/pip" install --quiet torch
    "$venv/bin/pip" install --quiet transformers safetensors numpy
  fi
fi

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
  "$PYTHON" "$repository/tests/interop/transformers_roundtrip.py" "$natrix" "$runs/$name"
}

check mamba model.repeat=4 model.mamba.inner_norms=false
check jamba-every-layer model.pattern=ME model.repeat=3
check jamba-every-other-layer model.pattern=M-ME model.repeat=2 model.tie_embeddings=false model.moe.top_k=1
"$PYTHON" "$repository/tests/interop/random_models.py" "$natrix" --count 20
