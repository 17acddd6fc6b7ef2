#!/bin/bash
# The table of registers in docs/performance.md: bench/cuda_registers.sh > table.md
#
# Compiles kernels/cuda with nvcc (no GPU is needed) for NATRIX_ARCHITECTURES ("80 90a 100") and prints, of each
# kernel, the registers of a thread for each architecture: the most of all its instantiations, f32 beside bf16
# where both exist. Kernels made of a lambda go by the file they stand in. Exit status 1 if any spills a register.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/cuda/bin
architectures=${NATRIX_ARCHITECTURES:-80 90a 100}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for file in kernels/cuda/*.cu; do
  for arch in $architectures; do
    nvcc -std=c++20 --extended-lambda -DNATRIX_BUILD_CUDA=1 -I. -O3 -arch="sm_$arch" -cubin -Xptxas=-v \
      "$file" -o "$work/cubin" 2>&1 | c++filt | sed "s|^|$(basename "$file" .cu) $arch |" >> "$work/log"
  done
done

awk -v architectures="$architectures" '
  { file = $1; arch = $2 }
  /Compiling entry function/ {
    name = $0; sub(/.*entry function ./, "", name); sub(/. for .sm_.*/, "", name)
    io = name ~ /BFloat16/ ? "bf16" : "f32"
    if (match(name, /[a-z_]+_kernel/)) name = substr(name, RSTART, RLENGTH)
    if (name ~ /^(cells|warps)_kernel$/) name = file ": element by element"
    ++kernels[arch]
  }
  /bytes spill stores/ && $0 !~ / 0 bytes spill stores/ { ++spills; print "spills: " name " sm_" arch > "/dev/stderr" }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); n = substr($0, RSTART + 5, RLENGTH - 5) + 0
    if (!(name in seen)) { seen[name] = 1; order[++count] = name }
    if (n > most[name, arch, io]) most[name, arch, io] = n
  }
  END {
    n = split(architectures, arch_of, " ")
    line = "| kernel |"; rule = "|---|"
    for (i = 1; i <= n; ++i) { line = line " sm_" arch_of[i] " |"; rule = rule "---|" }
    print line; print rule
    for (k = 1; k <= count; ++k) {
      line = "| `" order[k] "` |"
      for (i = 1; i <= n; ++i) {
        f = most[order[k], arch_of[i], "f32"]; b = most[order[k], arch_of[i], "bf16"]
        line = line " " f (f && b ? ", " : "") b " |"
      }
      print line
    }
    print ""
    print "f32, bf16. " kernels[arch_of[1]] " kernels with all instantiations; " spills + 0 " of them spill for some architecture."
    exit spills > 0
  }' "$work/log"
