#include "tests/kernels/attention_case.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

namespace natrix::test {
namespace {

/// Rows [begin, begin + count) of every sequence of v [B, T, C].
Buffer slice(View v, int64_t begin, int64_t count) {
  Buffer b(v.dtype, {v.extent(0), count, v.cols()});
  for (int64_t s = 0; s < v.extent(0); ++s) {
    copy(v.row_range(s * v.extent(1) + begin, count), b.view().row_range(s * count, count));
  }
  return b;
}

void put(View from, View to, int64_t begin) {
  const int64_t count = from.extent(1);
  for (int64_t s = 0; s < to.extent(0); ++s) {
    copy(from.row_range(s * count, count), to.row_range(s * to.extent(1) + begin, count));
  }
}

/// A segment's operands and results.
struct Segment {
  int64_t begin, count;  // tokens of q
  Buffer q, y, lse, doc_start, position;
};

Segment segment_of(const AttentionCase& c, int64_t begin, int64_t count) {
  const AttentionSizes& s = c.size;
  const Shape shape{s.batch, count, s.heads * s.dim};
  Segment seg{begin,
              count,
              slice(c["q"], begin, count),
              poisoned(c.dtype(), shape),
              poisoned(c.dtype(), {s.batch, s.heads, count}),
              {},
              {}};
  if (!c.doc_start) return seg;
  const int64_t first = s.past + begin;
  seg.doc_start = Buffer(Dtype::kU8, {s.batch, count});
  seg.position = Buffer(Dtype::kI64, {s.batch});
  for (int64_t b = 0; b < s.batch; ++b) {
    const uint8_t* starts = c.doc_start.view().row<uint8_t>(b);
    std::copy_n(starts + first, count, seg.doc_start.view().row<uint8_t>(b));
    int64_t start = first - 1;
    while (start > 0 && starts[start] == 0) --start;
    seg.position.view().as<int64_t>()[b] = first - std::max<int64_t>(start, 0);
  }
  return seg;
}

AttentionForward forward_args(const AttentionCase& c, const OwnedPages& pages, const Segment& s) {
  const int64_t first = c.size.past + s.begin;
  return {.q = s.q.view(),
          .history = pages.of_length(first + s.count),
          .first = first,
          .doc_start = s.doc_start.view(),
          .position = s.position.view(),
          .scale = c.scale,
          .window = c.size.window,
          .y = s.y.view(),
          .lse = s.lse.view()};
}

void append(Context& ctx, const AttentionCase& c, const OwnedPages& pages, int64_t first, int64_t count) {
  if (count == 0) return;
  const Buffer k = slice(c["k"], first, count), v = slice(c["v"], first, count);
  append_rows(ctx, {.k = k.view(), .v = v.view(), .pages = pages.of_length(first + count), .first = first});
}

OwnedPages pages_of(const AttentionCase& c, bool of_gradients) {
  const AttentionSizes& s = c.size;
  return {c.dtype(), s.batch, s.rows(), s.key_heads, s.dim, of_gradients};
}

std::vector<Segment> forward_segments(Context& ctx, const AttentionCase& c, const OwnedPages& pages,
                                      int64_t chunk) {
  const AttentionSizes& s = c.size;
  std::vector<Segment> segments;
  append(ctx, c, pages, 0, s.past);
  for (int64_t t = 0; t < s.tokens; t += chunk) {
    segments.push_back(segment_of(c, t, std::min(chunk, s.tokens - t)));
    append(ctx, c, pages, s.past + t, segments.back().count);
    attention_forward(ctx, forward_args(c, pages, segments.back()));
  }
  return segments;
}

}  // namespace

OwnedPages::OwnedPages(Dtype dtype, int64_t batch, int64_t rows, int64_t heads, int64_t head_dim,
                       bool of_gradients)
    : shape_{{}, rows, heads, head_dim, dtype} {
  const Shape elements{page_elements(heads, head_dim)};
  for (int64_t i = 0; i < batch * shape_.pages_of_sequence(); ++i) {
    buffers_.push_back(of_gradients ? Buffer(dtype, elements) : poisoned(dtype, elements));
    pages_.push_back(buffers_.back().view().data);
  }
}

KeyValuePages OwnedPages::of_length(int64_t length) const {
  KeyValuePages pages = shape_;
  pages.pages = pages_;
  pages.length = length;
  return pages;
}

std::string AttentionSizes::to_string() const {
  return "B " + std::to_string(batch) + " past " + std::to_string(past) + " T " + std::to_string(tokens) +
         " H " + std::to_string(heads) + " G " + std::to_string(key_heads) + " D " + std::to_string(dim) +
         " window " + std::to_string(window);
}

AttentionCase AttentionCase::fresh(Random& random, Dtype dtype, AttentionSizes s, double document_starts) {
  AttentionCase c{s, 1 / std::sqrt(static_cast<double>(s.dim)), {}, {}};
  for (const char* name : {"q", "dy"}) {
    c.in[name] = random.normal(dtype, {s.batch, s.tokens, s.heads * s.dim});
  }
  for (const char* name : {"k", "v"}) {
    c.in[name] = random.normal(dtype, {s.batch, s.rows(), s.key_heads * s.dim});
  }
  if (document_starts > 0) c.doc_start = random.document_starts(s.batch, s.rows(), document_starts);
  return c;
}

AttentionCase AttentionCase::as(Dtype dtype) const {
  AttentionCase c{size, scale, test::as(dtype, in), {}};
  if (doc_start) c.doc_start = copy_of(doc_start.view());
  return c;
}

Buffers run_forward(Context& ctx, const AttentionCase& c, int64_t chunk) {
  const AttentionSizes& s = c.size;
  const OwnedPages pages = pages_of(c, false);
  Buffers out;
  out["y"] = poisoned(c.dtype(), c["q"].shape);
  out["lse"] = poisoned(c.dtype(), {s.batch, s.heads, s.tokens});
  for (const Segment& seg : forward_segments(ctx, c, pages, chunk > 0 ? chunk : s.tokens)) {
    put(seg.y.view(), out["y"].view(), seg.begin);
    for_float(c.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for (int64_t row = 0; row < s.batch * s.heads; ++row) {
        std::copy_n(seg.lse.view().as<T>() + row * seg.count, seg.count,
                    out["lse"].view().as<T>() + row * s.tokens + seg.begin);
      }
    });
  }
  return out;
}

Buffers run_backward(Context& ctx, const AttentionCase& c, int64_t chunk) {
  const AttentionSizes& s = c.size;
  const OwnedPages pages = pages_of(c, false), gradients = pages_of(c, true);
  const std::vector<Segment> segments = forward_segments(ctx, c, pages, chunk > 0 ? chunk : s.tokens);
  Buffers out;
  out["q"] = poisoned(c.dtype(), c["q"].shape);
  for (const char* name : {"k", "v"}) out[name] = poisoned(c.dtype(), c[name].shape);
  for (auto seg = segments.rbegin(); seg != segments.rend(); ++seg) {
    const AttentionForward f = forward_args(c, pages, *seg);
    const Buffer dy = slice(c["dy"], seg->begin, seg->count), dq = poisoned(c.dtype(), f.q.shape);
    attention_backward(ctx, {.q = f.q,
                             .history = f.history,
                             .first = f.first,
                             .doc_start = f.doc_start,
                             .position = f.position,
                             .scale = f.scale,
                             .window = f.window,
                             .y = f.y,
                             .lse = f.lse,
                             .dy = dy.view(),
                             .dq = dq.view(),
                             .dhistory = gradients.of_length(f.history.length)});
    put(dq.view(), out["q"].view(), seg->begin);
  }
  read_rows(ctx, {.pages = gradients.of_length(s.rows()), .k = out["k"].view(), .v = out["v"].view()});
  return out;
}

}  // namespace natrix::test
