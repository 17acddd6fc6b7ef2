// One problem for attention: fresh operands, pages that hold them, and runs in segments of any length.
#pragma once

#include <vector>

#include "kernels/attention.h"
#include "tests/kernels/operands.h"

namespace natrix::test {

/// Owned pages. Those for keys and values start as NaN, so that a kernel must not read what nobody wrote; those
/// for gradients start as zero.
class OwnedPages {
 public:
  OwnedPages(Dtype dtype, int64_t batch, int64_t rows, int64_t heads, int64_t head_dim, bool of_gradients);
  KeyValuePages of_length(int64_t length) const;

 private:
  std::vector<Buffer> buffers_;
  std::vector<void*> pages_;
  KeyValuePages shape_;
};

struct AttentionSizes {
  int64_t batch, past, tokens, heads, key_heads, dim;  // B, rows before the segment, T, H, G, D
  int64_t window = 0;
  int64_t rows() const { return past + tokens; }
  std::string to_string() const;
};

/// Operands by name: q and dy [B, T, H·D]; k and v [B, past + T, G·D].
struct AttentionCase {
  AttentionSizes size;
  double scale = 1;
  Buffers in;
  Buffer doc_start;  // [B, past + T], optional

  static AttentionCase fresh(Random& random, Dtype dtype, AttentionSizes size, double document_starts = 0);
  AttentionCase as(Dtype dtype) const;
  AttentionCase copy() const { return as(dtype()); }
  View operator[](const std::string& name) const { return Views(in)[name]; }
  Dtype dtype() const { return (*this)["q"].dtype; }
};

/// y and lse, computed in segments of `chunk` tokens (0: one).
Buffers run_forward(Context& ctx, const AttentionCase& c, int64_t chunk = 0);
/// The gradients of q, k and v, over all rows: segments run backwards, and add to the same pages.
Buffers run_backward(Context& ctx, const AttentionCase& c, int64_t chunk = 0);

}  // namespace natrix::test
