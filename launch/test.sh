#!/usr/bin/env bash
# Installs, builds and runs every test but the slow ones (ctest label `slow`: ctest --preset slow).
set -euo pipefail
cd "$(dirname "$0")/.."

launch/setup.sh
cmake --preset release
cmake --build --preset release
.ci/check_layers
ctest --preset release --parallel "$(nproc)" "$@"
