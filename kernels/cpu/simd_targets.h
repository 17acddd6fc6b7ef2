// The instruction sets for which the CPU kernels are compiled. Include this before <hwy/foreach_target.h>.
// Highway picks one at run time: AVX-512, AVX2, NEON, or plain C++ on older processors.
#pragma once

// Processors with SSE but without AVX2 are from before 2013 and not worth another compilation of every
// kernel. SVE and RVV vectors have no size at compile time, so the scan could not keep an array of them in
// registers. ARM machines use NEON.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
