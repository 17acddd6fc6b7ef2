#!/usr/bin/env bash
# prefetch_test.sh LIBRARY: whether the kernels that ask for memory ahead (kernels/cpu/prefetch.h) still do once
# the compiler is through with them. No result tells, and GCC drops calls of a function that does nothing else.
set -euo pipefail
code=$(command -v objdump >/dev/null && objdump -d --no-show-raw-insn "$1" 2>/dev/null || true)
[ -n "$code" ] || { echo "no objdump that reads $1: skipped"; exit 77; }
status=0
for unit in gemm scan scan_backward; do
  # prefetcht1: x86; prfm … l2 …: ARM
  count=$(awk -v object="$unit.cpp.o:" '$2 == "file" { inside = $1 == object } inside && /prefetcht1|prfm.*l2/' <<<"$code" | wc -l)
  echo "$unit.cpp asks for lines at $count places"
  [ "$count" -gt 0 ] || status=1
done
exit $status
