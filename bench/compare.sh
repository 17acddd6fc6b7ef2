#!/usr/bin/env bash
# Compares Natrix with what a user would otherwise run, in one run on this machine:
#
#   bench/compare.sh [--rounds N] [--rows REGEX] [--out DIR]
#
# The peers (PyTorch, Hugging Face transformers, mamba.py, llama.cpp) come from PyPI; launch/python_env.sh says where
# they are installed. Models for llama.cpp, two gigabytes, are made once in $MODELS (default ~/.cache/natrix/models).
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
models=${MODELS:-$HOME/.cache/natrix/models}
python=$("$repository/launch/python_env.sh" compare torch transformers mambapy einops safetensors numpy sentencepiece \
  google.protobuf=protobuf llama_cpp=llama-cpp-python)

# The converter is part of llama.cpp's sources, which the installed package does not contain.
mkdir -p "$models"
find_converter() { find "$models/llama_cpp_source" -name convert_hf_to_gguf.py -print -quit 2>/dev/null || true; }
if [ -z "$(find_converter)" ]; then
  version=$("$python" -c 'import importlib.metadata as m; print(m.version("llama_cpp_python"))')
  "$python" -m pip download --quiet --no-deps --no-binary :all: --dest "$models" "llama-cpp-python==$version" >&2
  mkdir -p "$models/llama_cpp_source"
  tar xzf "$models"/llama_cpp_python-*.tar.gz -C "$models/llama_cpp_source"
fi

cmake --preset release -S "$repository" >/dev/null
cmake --build "$repository/build/release" --target natrix bench_scan bench_model >/dev/null
exec "$python" "$repository/bench/compare/compare.py" --build "$repository/build/release" --models "$models" \
  --convert "$(find_converter)" "$@"
