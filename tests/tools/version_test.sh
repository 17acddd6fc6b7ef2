#!/usr/bin/env bash
# One version number, that of CMakeLists.txt: what the program, its package and the texts about it say.
#
#   version_test.sh PROGRAM VERSION NatrixConfigVersion.cmake
set -euo pipefail
program=$1 version=$2 package=$3
cd "$(dirname "$0")/../.."

failed=0
expect() {  # WHERE FOUND EXPECTED
  [ "$2" = "$3" ] && return
  echo "$1 says '$2'; expected '$3'" >&2
  failed=1
}
expect "natrix --version" "$("$program" --version)" "natrix $version"
expect "$package" "$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")$/\1/p' "$package")" "$version"
expect CITATION.cff "$(sed -n 's/^version: *//p' CITATION.cff)" "$version"
newest=$(grep -m 1 -oE '^## \[[0-9.]+\]|^Becomes [0-9.]+,' CHANGELOG.md)
expect CHANGELOG.md "$(grep -oE '[0-9]+\.[0-9]+\.[0-9]+' <<<"$newest")" "$version"
quoted=$(grep -rnF --include='*.cpp' --include='*.h' --include='*.cu' --include='*.cmake' -- "\"$version\"" \
  kernels configs core moe distributed launch cmake || true)
expect "a source or CMake file" "$quoted" ""
exit $failed
