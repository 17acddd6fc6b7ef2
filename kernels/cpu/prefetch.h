// Prefetching of cache lines.
#pragma once

namespace natrix::cpu {

/// Prefetches the line of p into the L2 cache, to be read or written some hundreds of cycles
/// later. Not into L1: its few outstanding requests are for lines needed now. (hwy::Prefetch
/// targets L1.) p need not be valid.
///
/// It must always be inlined: GCC considers a function that only prefetches to have no effect, and drops
/// calls of it. tests/kernels/prefetch_test.sh checks that the prefetches are there.
[[gnu::always_inline]] inline void prefetch_into_l2(const void* p) {
  constexpr int kToRead = 0, kSecondLevel = 2;
  __builtin_prefetch(p, kToRead, kSecondLevel);
}

}  // namespace natrix::cpu
