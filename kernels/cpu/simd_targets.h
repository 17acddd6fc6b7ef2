// Which instruction sets the CPU kernels are compiled for; include it before <hwy/foreach_target.h>. Highway
// picks one at run time: AVX-512, AVX2, NEON, or plain C++ on what is older.
#pragma once

// SSE without AVX2 is a processor of before 2013: not worth one more compilation of every kernel. Vectors of
// SVE and RVV have no size at compile time, so the scan could not keep an array of them in registers; ARM
// machines take NEON.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
