#include "core/sequence/diagnose.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

bool is_row_finite(View v, int64_t r) {
  bool finite = true;
  for_stored(v.dtype, [&](auto zero) {
    const auto* p = v.row<decltype(zero)>(r);
    finite = std::all_of(p, p + v.cols(), [](auto x) { return std::isfinite(static_cast<double>(x)); });
  });
  return finite;
}

/// The index of the first element that is not finite, or −1.
int64_t first_nonfinite(View anywhere) {
  const OnHost host(anywhere);
  const View v = host.view();
  for (int64_t r = 0; r < v.rows(); ++r) {
    if (is_row_finite(v, r)) continue;
    int64_t c = 0;
    for_stored(v.dtype, [&](auto zero) {
      while (std::isfinite(static_cast<double>(v.row<decltype(zero)>(r)[c]))) ++c;
    });
    return r * v.cols() + c;
  }
  return -1;
}

int64_t first_nonfinite(const PackedWeight& w) {
  for (int64_t i = 0; i < w.stack * w.rows * w.cols; ++i) {
    const int64_t row = i / w.cols;
    if (!std::isfinite(unpacked(w, row / w.rows, row % w.rows, i % w.cols))) return i;
  }
  return -1;
}

/// The index of the first element that is not finite in a weight of any format, or −1.
int64_t first_nonfinite(const Param& p) {
  if (p.value) return first_nonfinite(p.value);
  return p.packed ? first_nonfinite(p.packed) : p.rounded ? first_nonfinite(p.rounded) : -1;
}

/// The checkpoint's name of the tensor that contains this element of a parameter.
std::string part_at(const Param& p, int64_t element) {
  for (const ParamPart& part : p.parts) {
    if (element >= part.first && element < part.first + part.shape.count()) return part.name;
  }
  return p.name;
}

/// What a rank found. `order` decides which rank's finding comes first.
struct Finding {
  std::array<int64_t, 3> order;
  std::string words;
};

std::optional<Finding> find_weight(const std::vector<Param*>& params) {
  for (size_t i = 0; i < params.size(); ++i) {
    const int64_t element = first_nonfinite(*params[i]);
    if (element < 0) continue;
    return Finding{{static_cast<int64_t>(i), 0, 0},
                   fmt::format("the weight {} is not finite", part_at(*params[i], element))};
  }
  return std::nullopt;
}

std::optional<Finding> find_gradient(const std::vector<Param*>& params) {
  for (size_t i = params.size(); i-- > 0;) {
    const View grad = params[i]->grad;
    const int64_t element = grad ? first_nonfinite(grad) : -1;
    if (element < 0) continue;
    return Finding{{-static_cast<int64_t>(i), 0, 0},
                   fmt::format("the gradient of {} is not finite", part_at(*params[i], element))};
  }
  return std::nullopt;
}

std::optional<Finding> find_output(Model& model, const ReadAgain& again) {
  NonfiniteWatch watch;
  again(watch);
  if (!watch.first()) return std::nullopt;
  const NonfiniteWatch::Place& p = *watch.first();
  const std::vector<std::string> stack = model.config().sublayers();
  const auto sublayers = static_cast<int64_t>(stack.size());
  const std::string part = p.part < sublayers    ? fmt::format("the output of sublayer {} ({})", p.part,
                                                               stack[static_cast<size_t>(p.part)])
                           : p.part == sublayers ? "the output of the final norm"
                                                 : "the logits";
  return Finding{{p.position, p.row, p.part},
                 fmt::format("first seen in {}, row {}, position {}", part, p.row, p.position)};
}

/// The words of the rank whose finding comes first; empty if no rank found anything. Collective.
std::string earliest(Context& ctx, const Ranks& ranks, const std::optional<Finding>& mine) {
  bool leads = mine.has_value();
  for (size_t i = 0; i < 3; ++i) {
    const int64_t x = leads ? mine->order[i] : std::numeric_limits<int64_t>::max();
    const bool first = -ranks.world.max(ctx, -x) == x;
    leads = leads && first;
  }
  const int64_t rank = -ranks.world.max(ctx, leads ? -ranks.world.rank() : -ranks.world.size());
  if (rank == ranks.world.size()) return "";
  const std::string words = ranks.world.broadcast(ctx, rank, leads ? mine->words : "");
  return ranks.world.size() > 1 ? fmt::format("rank {}: {}", rank, words) : words;
}

/// Runs the rows again. All ranks run the same number of segments, because they exchange states.
void read_again(Model& model, Context& ctx, std::span<const Sequences> rows, const SequenceConfig& sequence,
                const Ranks& ranks, NonfiniteWatch& watch) {
  const RankShare share = ranks.share;
  CutRoute none;
  SegmentSchedule schedule(model, ctx, ranks.carry.states(), none, {.chunk = sequence.chunk});
  schedule.observe(&watch.observer());
  int64_t row = 0;
  for (const Sequences& r : rows) row += share.dp_rank * r.batch();
  for (const Sequences& r : rows) {
    ranks.carry.states().resume(r.start);
    int64_t first = 0;
    for (const RankShare::Stretch& s : share.stretches(sequence.length, sequence.chunk)) {
      const auto part = [&](View v) { return v ? v.columns(first, s.count) : View{}; };
      watch.at(row, s.first);
      schedule.read(
          {.tokens = part(r.tokens), .targets = {}, .doc_start = part(r.doc_start)},
          [&](int64_t, View hidden) {
            Buffer targets(Dtype::kI64, {r.batch(), s.count});
            copy(part(r.targets), targets.view());
            const Buffer losses(Dtype::kF64, {r.batch() * s.count});
            model.head().loss(ctx, hidden, targets.view(), losses.view());
            watch.losses(losses.view(), s.count);
          },
          first + s.count == r.length());
      first += s.count;
    }
    row += r.batch();
  }
}

}  // namespace

bool all_finite(View v) {
  return first_nonfinite(v) < 0;
}

std::string digits(double x) {
  return std::isnan(x) ? "nan" : fmt::format("{}", x);
}

std::string nonfinite_weight(Model& model) {
  for (const Param* p : model.params()) {
    if (const int64_t element = first_nonfinite(*p); element >= 0) return part_at(*p, element);
  }
  return "";
}

NonfiniteWatch::NonfiniteWatch()
    : observer_([this](const Segment& s, int sublayer, View output) {
        const OnHost host(output);
        const View v = host.view();  // [B, T, D]
        for (int64_t r = 0; r < v.rows(); ++r) {
          if (!is_row_finite(v, r)) note(r / s.tokens, s.first + r % s.tokens, sublayer);
        }
      }) {}

void NonfiniteWatch::at(int64_t row, int64_t position) {
  row_ = row;
  position_ = position;
}

void NonfiniteWatch::losses(View losses, int64_t T) {
  for (int64_t i = 0; i < losses.count(); ++i) {
    if (!std::isfinite(losses.as<double>()[i])) note(i / T, i % T, kLogits);
  }
}

void NonfiniteWatch::note(int64_t row, int64_t position, int64_t part) {
  const Place place{position_ + position, row_ + row, part};
  if (!first_ || place < *first_) first_ = place;
}

std::string locate_nonfinite(Model& model, Context& ctx, const Ranks& ranks, const ReadAgain& again) {
  const std::string weight = earliest(ctx, ranks, find_weight(model.params()));
  const std::string output = earliest(ctx, ranks, find_output(model, again));
  if (!weight.empty() || !output.empty())
    return weight + (weight.empty() || output.empty() ? "" : "; ") + output;
  const std::string gradient = earliest(ctx, ranks, find_gradient(model.params()));
  return gradient.empty() ? "weights, activations and gradients are finite when computed again" : gradient;
}

std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows,
                             const SequenceConfig& sequence, const Ranks& ranks) {
  return locate_nonfinite(model, ctx, ranks, [&](NonfiniteWatch& watch) {
    read_again(model, ctx, rows, sequence, ranks, watch);
  });
}

}  // namespace natrix
