#!/usr/bin/env bash
# Installs what Natrix is built from, on Debian 12 or 13: what each package is for stands in docs/dependencies.md.
# As root or with sudo; does nothing when all is there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libhwy-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libxxhash-dev
  libpcre2-dev zlib1g-dev libzstd-dev
  libopenmpi-dev openmpi-bin
  libgtest-dev libgmock-dev libbenchmark-dev libboost-context-dev iproute2
  bible-kjv bible-kjv-text bzip2 xz-utils
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then as_root=(); elif command -v sudo >/dev/null; then as_root=(sudo); else
  echo "launch/setup.sh: these packages are missing and need root: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
