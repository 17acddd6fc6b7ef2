#include "kernels/attention.h"

#include <algorithm>

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// What forward and backward share.
template <class Args>
void check_shared(const Context& ctx, const Args& a, std::string_view what) {
  const std::string name(what);
  const KeyValuePages& h = a.history;
  check_pages(ctx, h, a.q.extent(0), what);
  require(a.q.shape.rank() == 3 && a.q.count() > 0, name + ": q must be [B, T, H·D], of at least one token");
  require(a.q.cols() % (h.heads * h.head_dim) == 0, name + ": q must have whole groups of query heads");
  const Shape tokens{a.q.extent(0), a.q.extent(1)};
  check_view(a.q, h.dtype, a.q.shape, name + ": q");
  check_optional(a.doc_start, Dtype::kU8, tokens, name + ": doc_start");
  check_optional(a.position, Dtype::kI64, {tokens[0]}, name + ": position");
  check_view(a.y, h.dtype, a.q.shape, name + ": y");
  require(a.first >= 0 && a.first + tokens[1] <= h.length,
          name + ": the history must include the segment's own rows");
  require(a.window >= 0, name + ": window must be 0 or positive");
  if (a.lse) {
    check_dense(a.lse, h.dtype, {tokens[0], a.q.cols() / h.head_dim, tokens[1]}, name + ": lse");
  }
}

/// Pairs of a query and a key that it sees, over all heads and sequences, if every sequence is one document.
template <class Args>
double pairs_of(const Args& a) {
  const auto tokens = static_cast<double>(a.q.extent(1)), first = static_cast<double>(a.first);
  const auto window = static_cast<double>(a.window);
  // Query t sees first + t + 1 keys, or a window of them.
  const double growing = a.window == 0 ? tokens : std::clamp(window - first, 0.0, tokens);
  const double pairs = growing * first + growing * (growing + 1) / 2 + (tokens - growing) * window;
  return pairs * static_cast<double>(a.q.extent(0) * (a.q.cols() / a.history.head_dim));
}

/// Bytes of the keys and values that the segment reads.
template <class Args>
double history_bytes(const Args& a) {
  const int64_t end = a.first + a.q.extent(1);
  const int64_t rows = a.window == 0 ? end : std::min(end, a.q.extent(1) + a.window - 1);
  return static_cast<double>(2 * a.q.extent(0) * rows * a.history.heads * a.history.head_dim *
                             size_of(a.history.dtype));
}

template <class Args>
void find(const Args& a, int64_t b, std::span<KeyRange> of_query) {
  int64_t begin = a.position ? std::max<int64_t>(0, a.first - a.position.template as<int64_t>()[b]) : 0;
  for (int64_t t = 0; t < a.q.extent(1); ++t) {
    const int64_t i = a.first + t;
    if (a.doc_start && a.doc_start.template row<uint8_t>(b)[t] != 0) begin = i;
    of_query[static_cast<size_t>(t)] = {a.window > 0 ? std::max(begin, i - a.window + 1) : begin, i + 1};
  }
}

}  // namespace

void find_visible(const AttentionForward& args, int64_t b, std::span<KeyRange> of_query) {
  find(args, b, of_query);
}

void find_visible(const AttentionBackward& args, int64_t b, std::span<KeyRange> of_query) {
  find(args, b, of_query);
}

Cost cost(const AttentionForward& a) {
  const double pairs = pairs_of(a);
  return {.work = Work::kProducts,
          .flops = 4 * pairs * static_cast<double>(a.history.head_dim),
          .exps = pairs,
          .bytes = bytes_of({a.q, a.y, a.lse}) + history_bytes(a)};
}

Cost cost(const AttentionBackward& a) {
  const double pairs = pairs_of(a);
  return {.work = Work::kProducts,
          .flops = 10 * pairs * static_cast<double>(a.history.head_dim),
          .exps = pairs,
          .bytes = bytes_of({a.q, a.y, a.lse, a.dy, a.dq}) + 3 * history_bytes(a)};
}

// kernels/cuda/attention*.cu: sums in f32 like q, and of each query the first row that it sees; in backward also δ.
int64_t scratch(Backend backend, const AttentionForward& a) {
  if (backend != Backend::kCuda) return 0;
  return a.q.count() * size_of(Dtype::kF32) + a.q.rows() * size_of(Dtype::kI64);
}

int64_t scratch(Backend backend, const AttentionBackward& a) {
  if (backend != Backend::kCuda) return 0;
  return a.q.count() * size_of(Dtype::kF32) + a.q.rows() * size_of(Dtype::kI64) + a.lse.bytes();
}

void attention_forward(Context& ctx, const AttentionForward& args) {
  check_shared(ctx, args, "attention_forward");
  dispatch<AttentionForward>(ctx, "attention_forward", args,
                             {.reference = reference::attention_forward,
                              .cpu = cpu::attention_forward,
                              .cuda = if_cuda<cuda::attention_forward>()});
}

void attention_backward(Context& ctx, const AttentionBackward& args) {
  check_shared(ctx, args, "attention_backward");
  require(static_cast<bool>(args.lse), "attention_backward: needs the lse of attention_forward");
  const KeyValuePages &h = args.history, &d = args.dhistory;
  check_view(args.dy, h.dtype, args.q.shape, "attention_backward: dy");
  check_view(args.dq, h.dtype, args.q.shape, "attention_backward: dq");
  require(d.length >= args.first + args.q.extent(1) && d.heads == h.heads && d.head_dim == h.head_dim &&
              d.dtype == h.dtype,
          "attention_backward: dhistory must have the form of history");
  check_pages(ctx, d, args.q.extent(0), "attention_backward: dhistory");
  dispatch<AttentionBackward>(ctx, "attention_backward", args,
                              {.reference = reference::attention_backward,
                               .cpu = cpu::attention_backward,
                               .cuda = if_cuda<cuda::attention_backward>()});
}

}  // namespace natrix
