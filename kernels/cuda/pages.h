// Pages of keys and values (kernels/key_value_pages.h) as kernels see them.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/key_value_pages.h"

namespace natrix::cuda {

struct Pages {
  float* const* table = nullptr;  // [B, pages], in device memory
  int64_t pages = 0;              // of a sequence
  int64_t heads = 0, head_dim = 0, padded_dim = 0;

  /// Key j of head g is at key(b, g, j)[c * kPageRows], channel by channel.
  __device__ float* key(int64_t b, int64_t g, int64_t j) const {
    return table[b * pages + j / kPageRows] + g * head_dim * kPageRows + j % kPageRows;
  }
  __device__ float* value(int64_t b, int64_t g, int64_t j) const {
    return table[b * pages + j / kPageRows] + heads * head_dim * kPageRows +
           (g * kPageRows + j % kPageRows) * padded_dim;
  }
};

/// Copies the table of page addresses to the arena. The pages themselves are in device memory already.
Pages pages_on_device(Context& ctx, const KeyValuePages& pages, int64_t batch);

}  // namespace natrix::cuda
