#!/usr/bin/env bash
# .ci/check_format, check_text and check_shell: each passes a good file and names a bad one. Usage: checks_test.sh
# Ends with 77, "skipped", where git is missing; a check whose own program is missing is left out with a remark.
set -euo pipefail
checks=$(cd "$(dirname "$0")/../../.ci" && pwd)
command -v git >/dev/null || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failed=0
fail() {
  echo "FAILED: $1" >&2
  failed=1
}
# A repository with the checks in it: they look at the tree in which they lie.
mkdir "$scratch/.ci"
cp "$checks"/check_* "$scratch/.ci/"
cp "$checks/../.clang-format" "$scratch/"
cd "$scratch"
git init -q .

expect() {  # STATUS TEXT COMMAND…: this exit status, and output that holds TEXT
  local status=0 output
  output=$("${@:3}" 2>&1) || status=$?
  [ "$status" -eq "$1" ] || fail "${*:3}: status $status, expected $1: $output"
  [[ $output == *"$2"* ]] || fail "${*:3}: no '$2' in: $output"
}
keep() {  # FILE TEXT: a tracked file
  printf '%b' "$2" >"$1"
  git add "$1"
}

if [ -n "$(command -v clang-format-14 || command -v clang-format)" ] &&
  "$(command -v clang-format-14 || command -v clang-format)" --version | grep -q 'version 14\.'; then
  keep good.cpp 'int main() {\n  return 0;\n}\n'
  expect 0 "" .ci/check_format
  keep table.h '// a table\n//   one     1\n//   two     2\n'
  expect 0 "" .ci/check_format
  keep 'bad name.cpp' 'int  main( ) { return 0;}\n'
  expect 1 "bad name.cpp: is not formatted" .ci/check_format
  expect 0 "" .ci/check_format good.cpp
  git rm -qf 'bad name.cpp'
else
  echo "clang-format 14 is not installed: its check is left out"
fi
expect 2 "expected version 14" env CLANG_FORMAT=/bin/echo .ci/check_format

keep clean.md 'text\n'
expect 0 "" .ci/check_text
keep spaces.md 'text \n'
expect 1 "spaces.md:1: white space at the end" .ci/check_text
keep spaces.md 'text\r\n'
expect 1 "spaces.md:1: a Windows line end" .ci/check_text
keep spaces.md 'text'
expect 1 "spaces.md: no newline at the end" .ci/check_text
keep spaces.md 'a\0b \n'
expect 0 "" .ci/check_text
head -c 3000000 /dev/zero >spaces.md
expect 1 "spaces.md: 3000000 bytes" .ci/check_text
expect 0 "" .ci/check_text clean.md
git rm -qf spaces.md

if command -v shellcheck >/dev/null; then
  keep run '#!/usr/bin/env bash\nset -e\necho "$1"\n'
  expect 0 "" .ci/check_shell
  keep run '#!/usr/bin/env bash\ncd /tmp\n'
  expect 1 "SC2164" .ci/check_shell
else
  echo "shellcheck is not installed: its check is left out"
fi
exit $failed
