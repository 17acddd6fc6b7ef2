// Which instruction sets the CPU kernels are compiled for; include it before <hwy/foreach_target.h>. Highway
// picks one at run time: AVX-512, AVX2, SSE4, or plain C++ on what is older (NEON and SVE on ARM).
#pragma once

// SSSE3 without SSE4 is a processor of 2006: not worth a fifth compilation of every kernel.
#define HWY_DISABLED_TARGETS HWY_SSSE3
