// Where the document of each token began.
#pragma once

#include "kernels/cuda/launch.h"

namespace natrix::cuda {

/// Calls sink(b, t, start) for every token. start: the last token ≤ t of the segment that begins a
/// document, or −1. One warp per sequence.
template <class Sink>
void for_document_starts(Context& ctx, View doc_start, int64_t batch, int64_t tokens, Sink sink) {
  const Rows<uint8_t> starts(doc_start);
  for_warps(ctx, batch, [=] __device__(int64_t b, int lane) {
    int64_t before = -1;  // the last start before these 32 tokens
    for (int64_t t0 = 0; t0 < tokens; t0 += 32) {
      const int64_t t = t0 + lane;
      const bool here = starts && t < tokens && starts[b][t] != 0;
      const unsigned mask = __ballot_sync(kAllLanes, here);
      const unsigned up_to_me = mask & (0xffffffffu >> (31 - lane));
      int64_t start = before;
      for (int bit = 31; bit >= 0 && up_to_me != 0; --bit) {
        if ((up_to_me >> bit & 1u) == 0) continue;
        start = t0 + bit;
        break;
      }
      if (t < tokens) sink(b, t, start);
      before = __shfl_sync(kAllLanes, static_cast<int>(start - t0), 31) + t0;
    }
  });
}

}  // namespace natrix::cuda
