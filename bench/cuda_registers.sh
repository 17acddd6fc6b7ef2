#!/bin/bash
# The table of registers in docs/notes/performance-experiments.md: bench/cuda_registers.sh > table.md
#
# Compiles kernels/cuda with nvcc (no GPU is needed) for NATRIX_ARCHITECTURES ("80 90a 100"). For each kernel and
# architecture it prints the registers of a thread, in f32 and in bf16 where both exist. After them it prints how many
# warps (of 64) a multiprocessor holds with the larger number, computed from 65,536 registers, shared memory and 32
# blocks. Each number is the maximum over all instantiations. The convolution of four taps and the scan of 16 states in
# whole quads, which models use, have rows of their own. Kernels made from a lambda are listed under their file. Exit
# status 1 if any kernel spills.
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
  function label(name) {
    if (name ~ /conv_[a-z]+_kernel<4, true/) return ", 4 taps"
    if (name ~ /conv_[a-z]+_kernel</) return ", others"
    if (name ~ /scan_forward_kernel<16, true/) return ", 16 states"
    if (name ~ /scan_backward_kernel<true|summarise_kernel<(true|false), true/) return ", whole quads"
    if (name ~ /scan_[a-z]+_kernel<|summarise_kernel</) return ", others"
    return ""
  }
  # Dynamic shared memory for 16 states: the states before each stretch, and the sums over four warps.
  function dynamic_shared(name) { return name ~ /scan_backward_kernel/ ? 20480 : 0 }
  function threads(name) { return name ~ /cross_entropy|quads|cells/ ? 256 : 128 }
  # Registers are allocated to warps in steps of 8 per thread. Each block reserves 1 KiB of shared memory.
  function warps_held(name, registers, shared, arch,   of_block, blocks, by_shared) {
    of_block = threads(name) / 32
    blocks = int(int(65536 / (int((registers + 7) / 8) * 8 * 32)) / of_block)
    by_shared = int(((arch ~ /^8/ ? 164 : 228) * 1024) / (shared + 1024))
    if (by_shared < blocks) blocks = by_shared
    if (blocks > 32) blocks = 32
    return blocks * of_block > 64 ? 64 : blocks * of_block
  }
  { file = $1; arch = $2 }
  /Compiling entry function/ {
    full = $0; sub(/.*entry function ./, "", full); sub(/. for .sm_.*/, "", full)
    io = full ~ /BFloat16/ ? "bf16" : "f32"
    name = full; kind = ""
    if (match(full, /[a-z_]+_kernel/)) kind = substr(full, RSTART, RLENGTH)
    if (kind != "") name = kind label(full)
    if (kind ~ /^(cells|quads)_kernel$/) name = file ": element by element"
    if (kind ~ /^(warps|warp_rows)_kernel$/) name = file ": a warp a row"
    ++kernels[arch]
  }
  /bytes spill stores/ && $0 !~ / 0 bytes spill stores/ { ++spills; print "spills: " full " sm_" arch > "/dev/stderr" }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); n = substr($0, RSTART + 5, RLENGTH - 5) + 0
    shared = dynamic_shared(kind)
    if (match($0, /[0-9]+ bytes smem/)) shared += substr($0, RSTART, RLENGTH - 11)
    if (!(name in seen)) { seen[name] = 1; order[++count] = name; kind_of[name] = kind }
    if (n > most[name, arch, io]) most[name, arch, io] = n
    if (n > largest[name, arch]) largest[name, arch] = n
    if (shared > memory[name]) memory[name] = shared
  }
  END {
    n = split(architectures, arch_of, " ")
    line = "| kernel | shared, bytes |"; rule = "|---|---|"
    for (i = 1; i <= n; ++i) { line = line " sm_" arch_of[i] " |"; rule = rule "---|" }
    print line; print rule
    for (k = 1; k <= count; ++k) {
      line = "| `" order[k] "` | " memory[order[k]] + 0 " |"
      for (i = 1; i <= n; ++i) {
        f = most[order[k], arch_of[i], "f32"]; b = most[order[k], arch_of[i], "bf16"]
        held = warps_held(kind_of[order[k]], largest[order[k], arch_of[i]], memory[order[k]], arch_of[i])
        line = line " " f (f && b ? ", " : "") b ": " held " |"
      }
      print line
    }
    print ""
    print kernels[arch_of[1]] " kernels with all instantiations; " spills + 0 " of them spill for some architecture."
    exit spills > 0
  }' "$work/log"
