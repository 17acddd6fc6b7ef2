// Asking for a cache line ahead of its use.
#pragma once

namespace natrix::cpu {

/// Asks for the line of p, to be read or written some hundreds of cycles later, into the L2 cache: L1's few
/// requests under way are those of lines needed now. p need not be valid. (hwy::Prefetch asks for L1.)
///
/// Always inlined, and it has to be: GCC takes a function that does nothing but this for one without effects,
/// and drops calls of it. tests/kernels/prefetch_test.sh looks whether any are left.
[[gnu::always_inline]] inline void prefetch_into_l2(const void* p) {
  constexpr int kToRead = 0, kSecondLevel = 2;
  __builtin_prefetch(p, kToRead, kSecondLevel);
}

}  // namespace natrix::cpu
