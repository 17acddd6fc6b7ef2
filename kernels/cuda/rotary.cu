// Rotary embedding. The sine and cosine of each token and frequency are computed once, in double, and then used by
// all heads.
#include "kernels/base/transfer.h"
#include "kernels/cuda/positions.h"
#include "kernels/rotary.h"

namespace natrix::cuda {
namespace {

struct Turns {
  float *cosine, *sine;  // [B·T, w/2]
};

Turns turns_of(Context& ctx, const Rotary& a) {
  const int64_t batch = a.x.extent(0), tokens = a.x.extent(1),
                pairs = static_cast<int64_t>(a.frequencies.size());
  View frequencies = ctx.arena().take(Dtype::kF64, {pairs});
  upload(ctx, View(const_cast<double*>(a.frequencies.data()), Dtype::kF64, {pairs}), frequencies);
  const Turns turns{ctx.arena().take(Dtype::kF32, {batch * tokens, pairs}).as<float>(),
                    ctx.arena().take(Dtype::kF32, {batch * tokens, pairs}).as<float>()};
  const Rows<int64_t> position(a.position);
  const View at = ctx.arena().take(Dtype::kI64, {batch * tokens});
  int64_t* positions = at.as<int64_t>();
  for_document_starts(ctx, a.doc_start, batch, tokens, [=] __device__(int64_t b, int64_t t, int64_t start) {
    const int64_t first = position ? position.data[b] : 0;
    positions[b * tokens + t] = start < 0 ? first + t : t - start;
  });
  const double *frequency = frequencies.as<double>(), sign = a.reverse ? -1 : 1, magnitude = a.magnitude;
  for_cells(ctx, batch * tokens, pairs, [=] __device__(int64_t row, int64_t i) {
    const double angle = static_cast<double>(positions[row]) * frequency[i];
    turns.cosine[row * pairs + i] = static_cast<float>(magnitude * cos(angle));
    turns.sine[row * pairs + i] = static_cast<float>(sign * magnitude * sin(angle));
  });
  return turns;
}

}  // namespace

void rotary(Context& ctx, const Rotary& a) {
  const int64_t pairs = static_cast<int64_t>(a.frequencies.size()), D = a.head_dim, cells = D - pairs;
  const Rows<float> x(a.x), y(a.y);
  Arena::Frame frame(ctx.arena());
  const Turns turns = pairs > 0 ? turns_of(ctx, a) : Turns{};
  // A cell is a pair of channels, or one channel beyond the rotary width.
  for_cells(ctx, a.x.rows(), a.x.cols() / D * cells, [=] __device__(int64_t row, int64_t cell) {
    const int64_t head = cell / cells * D, i = cell % cells;
    const float* from = x[row] + head;
    float* to = y[row] + head;
    if (i >= pairs) {
      to[i + pairs] = from[i + pairs];
      return;
    }
    const float c = turns.cosine[row * pairs + i], s = turns.sine[row * pairs + i];
    const float first = from[i], second = from[i + pairs];
    to[i] = first * c - second * s;
    to[i + pairs] = second * c + first * s;
  });
}

}  // namespace natrix::cuda
