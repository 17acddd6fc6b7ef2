#!/usr/bin/env bash
# Natrix beside what a user would otherwise run, in one run on this machine:
#
#   bench/compare.sh [--rounds N] [--rows REGEX] [--out DIR]
#
# Peers (PyTorch, Hugging Face transformers, mamba.py) come from PyPI: see launch/python_env.sh for where they go.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
python=$("$repository/launch/python_env.sh" compare torch transformers mambapy einops safetensors numpy)

cmake --preset release -S "$repository" >/dev/null
cmake --build "$repository/build/release" --target natrix bench_scan bench_model >/dev/null
exec "$python" "$repository/bench/compare/compare.py" --build "$repository/build/release" "$@"
