#include "launch/api/score.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "core/generate/sampler.h"
#include "core/sequence/diagnose.h"
#include "launch/api/token_rows.h"

namespace natrix {
namespace {

/// Columns [first, first + count) of a [B, T] tensor of targets, contiguous.
Buffer columns_of(View v, int64_t first, int64_t count) {
  Buffer part(v.dtype, {v.rows(), count});
  copy(v.columns(first, count), part.view());
  return part;
}

/// The first row of logits with a number that is not finite; −1 if there is none.
int64_t first_without_choice(View logits) {
  for (int64_t r = 0; r < logits.rows(); ++r) {
    if (!has_choice({logits.row<float>(r), static_cast<size_t>(logits.cols())})) return r;
  }
  return -1;
}

}  // namespace

ScoreFigures score_tokens(Model& model, Context& ctx, View tokens, int64_t chunk,
                          const std::string& consequence, const LogitsVisitor& visit) {
  const Buffer targets = next_token_targets(tokens);
  const int64_t batch = tokens.rows(), length = tokens.cols();
  LocalRoute states;
  CutRoute none;
  chunk = std::min(chunk, length);
  SegmentSchedule schedule(model, ctx, states, none, {.chunk = chunk});
  double sum = 0;
  const auto refuse = [&](int64_t end, const std::string& what) {
    const Sequences read{.tokens = tokens.columns(0, end), .targets = targets.view().columns(0, end)};
    OneProcess alone;
    throw NonfiniteError(
        fmt::format("{}: {}{}", what,
                    locate_nonfinite(model, ctx, {&read, 1}, {.length = end, .chunk = chunk}, alone.ranks()),
                    consequence));
  };
  schedule.read({.tokens = tokens}, [&](int64_t first, View hidden) {
    const int64_t end = first + hidden.extent(1);
    const Buffer part = columns_of(targets.view(), first, hidden.extent(1));
    sum += model.head().loss(ctx, hidden, part.view());
    for (int64_t b = 0; b < batch; ++b) {
      Arena::Frame frame(ctx.arena());
      View logits = model.head().logits(ctx, hidden.row_range(b * hidden.extent(1), hidden.extent(1)));
      const Buffer f32(Dtype::kF32, logits.shape);
      convert(logits, f32.view());
      const int64_t sick = first_without_choice(f32.view());
      if (sick >= 0)
        refuse(end, fmt::format("the logits of row {}, position {} are not finite", b, first + sick));
      visit(b, first, f32.view());
    }
    if (!std::isfinite(sum)) refuse(end, fmt::format("the loss is {}", digits(sum)));
  });
  return {.loss_sum = sum, .predictions = batch * (length - 1)};
}

}  // namespace natrix
