#!/usr/bin/env bash
# Installs a built Natrix to a scratch prefix, and builds and runs another project against it:
#
#   tests/interop/find_package/check.sh BUILD_DIR
set -euo pipefail
build=$1
project=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/here" >/dev/null
mv "$scratch/here" "$scratch/there"  # an installed tree may move
"$scratch/there/bin/natrix" --version
if grep -rn "$(cd "$project/../../.." && pwd)/" "$scratch/there" --include=*.cmake; then
  echo "the installed package points into the source tree" >&2
  exit 1
fi
cmake -G Ninja -S "$project" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$scratch/there" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$scratch/build"
"$scratch/build/uses_natrix"
