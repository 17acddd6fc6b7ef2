#include "core/train/diagnose.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

/// Somewhere to look, in the order of looking. What NaN makes of what comes after it is later in that order:
/// a rank passes one on to others in the same sublayer or behind it.
struct Place {
  enum Kind { kWeight, kSublayer, kGradient, kNowhere } kind = kNowhere;
  int64_t segment = 0;  // over all micro-batches
  int64_t index = 0;    // of the sublayer; of the parameter, for gradients from the last one on

  static constexpr int64_t kMostSegments = int64_t{1} << 32, kMostIndices = int64_t{1} << 24;
  int64_t order() const { return (kind * kMostSegments + segment) * kMostIndices + index; }
  static Place at(int64_t order) {
    const int64_t above = order / kMostIndices;
    return {static_cast<Kind>(above / kMostSegments), above % kMostSegments, order % kMostIndices};
  }
};

std::optional<Place> find_weight(const std::vector<Param*>& params) {
  for (size_t i = 0; i < params.size(); ++i) {
    if (!all_finite(params[i]->value)) return Place{Place::kWeight, 0, static_cast<int64_t>(i)};
  }
  return std::nullopt;
}

std::optional<Place> find_gradient(const std::vector<Param*>& params) {
  for (size_t i = 0; i < params.size(); ++i) {
    const View grad = params[params.size() - 1 - i]->grad;
    if (grad && !all_finite(grad)) return Place{Place::kGradient, 0, static_cast<int64_t>(i)};
  }
  return std::nullopt;
}

/// Runs all segments again, since other ranks may need what this one says in them.
class Rerun {
 public:
  Rerun(Model& model, Context& ctx, int64_t chunk, CarryRoute& states)
      : model_(model), ctx_(ctx), chunk_(chunk), states_(states) {}

  std::optional<Place> find(std::span<const Sequences> rows) {
    for (const Sequences& r : rows) {
      states_.resume(r.start);
      for (int64_t first = 0; first < r.length(); first += chunk_, ++segment_) run(r, first);
    }
    return place_;
  }

 private:
  void run(const Sequences& rows, int64_t first) {
    Arena::Frame frame(ctx_.arena());
    const int64_t n = std::min(chunk_, rows.length() - first);
    const auto part = [&](View v) {
      if (!v) return View{};
      View p = ctx_.arena().take(v.dtype, {rows.batch(), n});
      copy(v.columns(first, n), p);
      return p;
    };
    const std::function<void(int, View)> observe = [&](int sublayer, View y) {
      if (!place_ && !all_finite(y)) place_ = Place{Place::kSublayer, segment_, sublayer};
    };
    states_.begin_segment(first + n == rows.length());
    StepTally unused;
    SaveStack nothing;
    Pass pass{ctx_,
              nothing,
              states_,
              unused,
              {.batch = rows.batch(), .tokens = n, .doc_start = part(rows.doc_start)}};
    pass.observe = &observe;
    model_.hidden(pass, part(rows.tokens));
  }

  Model& model_;
  Context& ctx_;
  int64_t chunk_;
  CarryRoute& states_;
  int64_t segment_ = 0;
  std::optional<Place> place_;
};

/// The tokens of a rank's n-th segment, over all micro-batches.
std::string tokens_of(int64_t n, RankShare share, int64_t rank, const SequenceConfig& sequence) {
  share.cp_rank = rank % share.cp;
  const std::vector<RankShare::Stretch> stretches = share.stretches(sequence.length, sequence.chunk);
  const RankShare::Stretch& s = stretches[static_cast<size_t>(n) % stretches.size()];
  return fmt::format("tokens {} to {}", s.first, s.first + s.count - 1);
}

std::string in_words(const Place& place, Model& model, const std::string& tokens) {
  const std::vector<Param*> params = model.params();
  const auto i = static_cast<size_t>(place.index);
  switch (place.kind) {
    case Place::kWeight: return fmt::format("the weight {} is not finite", params[i]->name);
    case Place::kSublayer:
      return fmt::format("first seen in the output of sublayer {} ({}), {}", i, model.config().stack()[i],
                         tokens);
    case Place::kGradient:
      return fmt::format("the gradient of {} is not finite", params[params.size() - 1 - i]->name);
    case Place::kNowhere: break;
  }
  return "weights, activations and gradients are finite when computed again";
}

}  // namespace

bool all_finite(View anywhere) {
  const OnHost host(anywhere);
  const View v = host.view();
  bool finite = true;
  for_stored(v.dtype, [&](auto zero) {
    for (int64_t r = 0; r < v.rows() && finite; ++r) {
      const auto* p = v.row<decltype(zero)>(r);
      finite = std::all_of(p, p + v.cols(), [](auto x) { return std::isfinite(static_cast<double>(x)); });
    }
  });
  return finite;
}

std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows,
                             const SequenceConfig& sequence, const Ranks& ranks) {
  std::optional<Place> mine = find_weight(model.params());
  const std::optional<Place> seen = Rerun(model, ctx, sequence.chunk, ranks.carry.states()).find(rows);
  if (!mine) mine = seen;
  if (!mine) mine = find_gradient(model.params());
  const int64_t order = mine.value_or(Place{}).order();
  const int64_t earliest = -ranks.world.max(ctx, -order);
  const int64_t rank = -ranks.world.max(ctx, order == earliest ? -ranks.world.rank() : -ranks.world.size());
  const Place place = Place::at(earliest);
  const std::string words = in_words(place, model, tokens_of(place.segment, ranks.share, rank, sequence));
  const bool of_a_rank =
      ranks.world.size() > 1 && (place.kind == Place::kWeight || place.kind == Place::kSublayer);
  return of_a_rank ? fmt::format("rank {}: {}", rank, words) : words;
}

}  // namespace natrix
