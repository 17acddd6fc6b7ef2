#!/usr/bin/env bash
# Installs, builds and runs every test but the slow ones (ctest label `slow`: ctest --preset slow). Arguments go to
# ctest; without any, the tests of backend cuda follow, on an emulated device (tests/cuda_emulation/README.md).
# NATRIX_WERROR=ON in the environment makes warnings errors, as in continuous integration.
set -euo pipefail
cd "$(dirname "$0")/.."
werror=(${NATRIX_WERROR:+"-DNATRIX_WERROR=$NATRIX_WERROR"})

launch/setup.sh
cmake --preset release "${werror[@]}"
cmake --build --preset release
.ci/check_layers
ctest --preset release --parallel "$(nproc)" "$@"
[ $# -eq 0 ] || exit 0

cmake --preset cuda-emulated "${werror[@]}"
cmake --build --preset cuda-emulated --target test_cuda_emulation test_kernels test_launch
ctest --preset cuda-emulated --parallel "$(nproc)"
