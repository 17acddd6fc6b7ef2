// Keys and values of an attention layer, in pages of a fixed number of rows. A sequence only ever appends to
// them, so rows never move and a page is shared by everything that reads it.
//
// Page p of a sequence holds the rows (tokens) [p · kPageRows, (p + 1) · kPageRows), counted from the
// beginning of its storage. It has, for G heads of D channels each:
//
//   keys     [G, D, kPageRows]   transposed: the scores of a query with 16 keys are one vector
//   values   [G, kPageRows, Dp]  Dp is D rounded up to 16; the padding is zero
//
// Gradients of keys and values lie in pages of the same form. Whoever owns pages zeroes those of gradients
// before backward; those of keys and values may hold anything beyond `length`.
//
// Dtypes: f32 on every backend, f64 on the reference backend only. k and v are [B, T, G·D], with strided rows.
#pragma once

#include <span>

#include "kernels/base/context.h"

namespace natrix {

/// Rows of a page, and of a block of keys in attention. Changing it changes the bits of results.
inline constexpr int64_t kPageRows = 64;

struct KeyValuePages {
  std::span<void* const> pages;  // [B, P], P ≥ ceil(length / kPageRows); without meaning in a dry run
  int64_t length = 0;            // rows in each sequence
  int64_t heads = 0;             // G
  int64_t head_dim = 0;          // D
  Dtype dtype = Dtype::kF32;

  static int64_t padded(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
  int64_t padded_dim() const { return padded(head_dim); }
  int64_t pages_of_sequence() const { return (length + kPageRows - 1) / kPageRows; }
  /// Keys [D, kPageRows] of head g in page p of sequence b.
  template <class T>
  T* keys(int64_t batch, int64_t b, int64_t g, int64_t p) const {
    const int64_t stride = static_cast<int64_t>(pages.size()) / batch;
    return static_cast<T*>(pages[static_cast<size_t>(b * stride + p)]) + g * head_dim * kPageRows;
  }
  /// Values [kPageRows, Dp].
  template <class T>
  T* values(int64_t batch, int64_t b, int64_t g, int64_t p) const {
    return keys<T>(batch, b, 0, p) + (heads * head_dim + g * padded_dim()) * kPageRows;
  }
};

/// Elements of a page.
inline int64_t page_elements(int64_t heads, int64_t head_dim) {
  return heads * kPageRows * (head_dim + KeyValuePages::padded(head_dim));
}

/// Checks pages for `batch` sequences.
void check_pages(const Context& ctx, const KeyValuePages& pages, int64_t batch, std::string_view what);

/// Writes rows [first, first + T) of every sequence.
struct AppendRows {
  View k, v;
  KeyValuePages pages;  // out (=); length ≥ first + T
  int64_t first = 0;
};
void append_rows(Context& ctx, const AppendRows& args);
Cost cost(const AppendRows& args);

/// The reverse: reads rows [first, first + T), for example the gradient of a segment's keys and values.
struct ReadRows {
  KeyValuePages pages;
  int64_t first = 0;
  View k, v;  // out (=)
};
void read_rows(Context& ctx, const ReadRows& args);
Cost cost(const ReadRows& args);

namespace reference {  // of the CPU backend too: these copy, and compute nothing
void append_rows(Context& ctx, const AppendRows& args);
void read_rows(Context& ctx, const ReadRows& args);
}  // namespace reference
namespace cuda {
void append_rows(Context& ctx, const AppendRows& args);
void read_rows(Context& ctx, const ReadRows& args);
}  // namespace cuda

}  // namespace natrix
