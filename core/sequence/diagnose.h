// Where a NaN or an infinity came from, in words: for the message that ends a training run or a reading.
//
// While numbers are finite this costs nothing: whoever computes looks at a sum that it has anyway. After it
// found one that is not finite, the same tokens are read again, and a NonfiniteWatch looks at every output.
#pragma once

#include <compare>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

/// Ends a command whose numbers are not finite; the words say where.
class NonfiniteError : public RunError {
 public:
  using RunError::RunError;
};

bool all_finite(View v);
/// For messages: of a NaN without its sign, which says nothing.
std::string digits(double x);
/// The checkpoint's name of a weight that is not finite, the first in the order of the stack; of this rank's
/// weights, in whatever format they are. Empty: there is none.
std::string nonfinite_weight(Model& model);

/// Notes the first output that is not finite: at the earliest position, there in the first row, there in the
/// lowest sublayer. Whatever made it so comes no later in this order, so nothing outside of the place did.
class NonfiniteWatch {
 public:
  static constexpr int64_t kLogits = int64_t{1} << 40;  // as a part: what comes after all sublayers

  struct Place {
    int64_t position = 0, row = 0;
    int64_t part = 0;  // a sublayer; the number of sublayers, for the final norm; kLogits
    auto operator<=>(const Place&) const = default;
  };

  NonfiniteWatch();
  NonfiniteWatch(const NonfiniteWatch&) = delete;
  NonfiniteWatch& operator=(const NonfiniteWatch&) = delete;

  /// The first row and the first position of what is read from now on.
  void at(int64_t row, int64_t position);
  /// For Pass::observe.
  const PassObserver& observer() const { return observer_; }
  /// Cross-entropies f64 [B · T] of rows of T tokens: those that are not finite come from the logits.
  void losses(View losses, int64_t T);
  void note(int64_t row, int64_t position, int64_t part);  // counted from at()
  const std::optional<Place>& first() const { return first_; }

 private:
  int64_t row_ = 0, position_ = 0;
  PassObserver observer_;
  std::optional<Place> first_;
};

/// Shows `watch` the same computation again. Collective: all ranks read as often.
using ReadAgain = std::function<void(NonfiniteWatch& watch)>;

/// The first weight that is not finite, and the first place that a watch sees; where there is neither, the
/// gradient nearest to the loss that is not finite. Collective: the words are the same on every rank, are of
/// the earliest place of all ranks, and name its rank where there are several.
std::string locate_nonfinite(Model& model, Context& ctx, const Ranks& ranks, const ReadAgain& again);
/// The same for this rank's micro-batches of a step, or for any rows of one process.
std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows,
                             const SequenceConfig& sequence, const Ranks& ranks);

}  // namespace natrix
