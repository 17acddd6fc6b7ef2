#!/usr/bin/env bash
# Natrix beside what a user would otherwise run, in one run on this machine:
#
#   bench/compare.sh [--rounds N] [--rows REGEX] [--out DIR]
#
# Peers (PyTorch, Hugging Face transformers, mamba.py) go to a virtual environment outside of the repository, in $VENV
# (default ~/.cache/natrix/compare), which downloads a gigabyte once; or name an interpreter that has them in PYTHON.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)

if [ -z "${PYTHON:-}" ]; then
  venv=${VENV:-$HOME/.cache/natrix/compare}
  PYTHON=$venv/bin/python
  if ! "$PYTHON" -c 'import mambapy, safetensors, torch, transformers' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # PyPI's own torch brings CUDA along, three gigabytes; it serves where the other index cannot be reached.
    "$venv/bin/pip" install --quiet torch --index-url https://download.pytorch.org/whl/cpu ||
      "$venv/bin/pip" install --quiet torch
    "$venv/bin/pip" install --quiet transformers mambapy einops safetensors numpy
  fi
fi
cmake --preset release -S "$repository" >/dev/null
cmake --build "$repository/build/release" --target natrix bench_scan bench_model >/dev/null
exec "$PYTHON" "$repository/bench/compare/compare.py" --build "$repository/build/release" "$@"
