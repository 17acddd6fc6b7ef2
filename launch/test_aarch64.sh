#!/usr/bin/env bash
# Builds Natrix for 64-bit ARM on a Debian machine of another architecture, and runs the kernel tests and the tests
# against independent answers (tests/data/oracles) in an emulator:
#
#   launch/test_aarch64.sh                 # JOBS in the environment: compilers that run at a time; all processors without
#
# It installs Debian's cross compiler and emulator (as root or with sudo) and unpacks the arm64 libraries below
# build/aarch64-sysroot. The machine's own packages, and apt's list of architectures, stay as they are.
# Tests that start the program, or several ranks, need a machine with such a processor: there, launch/test.sh runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
sysroot=$PWD/build/aarch64-sysroot
jobs=${JOBS:-$(nproc)}
release=$(. /etc/os-release && echo "$ID $VERSION_CODENAME")
if [ "${release% *}" != debian ]; then
  echo "launch/test_aarch64.sh: this system is ${release% *}; the script knows where Debian keeps its arm64 packages" >&2
  exit 2
fi

missing=()
for package in g++-aarch64-linux-gnu qemu-user-static cmake ninja-build pkg-config ca-certificates; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -eq 0 ]; then as_root=(); else as_root=(sudo); fi
  echo "installing ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# apt works on a state of its own, in which arm64 is the only architecture and nothing is installed. The C and C++
# libraries, on which all of these depend, are the cross compiler's.
libraries=(libhwy-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libxxhash-dev
  libpcre2-dev zlib1g-dev libzstd-dev
  libgtest-dev libgmock-dev)
if [ ! -e "$sysroot/complete" ]; then
  apt=$sysroot/apt
  rm -rf "$sysroot"
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,packages}
  touch "$apt/state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian ${release#* } main" \
    >"$apt/sources.list"
  cat >"$apt/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$apt/state/";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache/";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
END
  export APT_CONFIG=$apt/apt.conf
  apt-get update -qq
  mapfile -t packages < <(apt-get install -s --no-install-recommends "${libraries[@]}" | awk '/^Inst/ { print $2 }' |
    grep -E '^(lib(hwy|yaml-cpp|cli11|spdlog|fmt|xxhash|gtest|gmock)|nlohmann-json)')
  (cd "$apt/packages" && apt-get download -qq "${packages[@]}")
  for package in "$apt"/packages/*.deb; do dpkg -x "$package" "$sysroot"; done
  rm -rf "$apt"
  unset APT_CONFIG
  printf '%s\n' "${packages[@]}" >"$sysroot/complete"
fi

cmake --preset aarch64
cmake --build --preset aarch64 --parallel "$jobs"
emulator=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)
"${emulator[@]}" build/aarch64/launch/natrix --version
"${emulator[@]}" build/aarch64/tests/test_kernels --gtest_filter='-*Slow*:*Cuda*' --gtest_brief=1
"${emulator[@]}" build/aarch64/tests/test_launch --gtest_filter='*OracleTest*' --gtest_brief=1
