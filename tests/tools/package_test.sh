#!/usr/bin/env bash
# The tarball that cpack makes runs from any directory, in an empty environment, with its own libraries.
#
#   package_test.sh BUILD_DIR VERSION
set -euo pipefail
build=$1 version=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failed=0
fail() {
  echo "FAILED: $1" >&2
  failed=1
}
cpack -G TGZ --config "$build/CPackConfig.cmake" -B "$scratch/made" >"$scratch/log" 2>&1 || {
  cat "$scratch/log" >&2
  exit 1
}
archive=$(find "$scratch/made" -maxdepth 1 -name "natrix-$version-*.tar.gz")
[ -f "$archive" ] || fail "no natrix-$version-*.tar.gz in $(ls "$scratch/made")"
mkdir "$scratch/any where"
tar xzf "$archive" -C "$scratch/any where" --strip-components=1
cd "$scratch/any where"

found=$(env -i bin/natrix --version)
[ "$found" = "natrix $version" ] || fail "--version prints '$found'"
loaded=$(env -i ldd bin/natrix)
# The C library and MPI, with what MPI needs, are the host's: whatever bin/natrix names itself is either or in lib/.
for library in $(readelf -d bin/natrix | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
  case $library in libc.so.* | libm.so.* | ld-linux* | libmpi.so.* | libcuda* | libnccl*) continue ;; esac
  [ -e "lib/$library" ] || fail "lib/ lacks $library"
  [[ $loaded == *"$library => $PWD/bin/../lib/$library"* ]] || fail "$library is not the tarball's: $loaded"
done
for file in lib/libstdc++.so.6 share/man/man1/natrix-train.1 share/bash-completion/completions/natrix \
  share/natrix/configs/quickstart.yaml share/doc/natrix/LICENSE; do
  [ -e "$file" ] || fail "no $file"
done
[ -z "$(find . -name '*.a' -o -name '*.h')" ] || fail "headers or static libraries are in the tarball"
[ ! -e lib/libc.so.6 ] || fail "the C library is in the tarball"
env -i bin/natrix inspect share/natrix/configs/quickstart.yaml >/dev/null || fail "inspect fails"
exit $failed
