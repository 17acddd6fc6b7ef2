// Finds where a NaN or an infinity came from, for the message that ends a training run or an evaluation.
//
// This costs nothing while numbers are finite: callers check only a sum that they compute anyway. If that sum
// is not finite, the same tokens are run again, and a NonfiniteWatch checks every output.
#pragma once

#include <compare>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

/// Ends a command whose numbers are not finite. Its message says where the first one appeared.
class NonfiniteError : public RunError {
 public:
  using RunError::RunError;
};

bool all_finite(View v);
/// Formats x for messages. A NaN has no sign.
std::string digits(double x);
/// The checkpoint's name of this rank's first weight, in the order of the stack, that is not finite. Empty if
/// there is none. Weights may have any format.
std::string nonfinite_weight(Model& model);

/// Finds the first output that is not finite, in the order of position, then row, then sublayer. Its cause
/// does not come later in this order, so the first such output is the cause's place.
class NonfiniteWatch {
 public:
  static constexpr int64_t kLogits = int64_t{1} << 40;  // Place::part of the logits

  struct Place {
    int64_t position = 0, row = 0;
    int64_t part = 0;  // index of a sublayer; the number of sublayers for the final norm; or kLogits
    auto operator<=>(const Place&) const = default;
  };

  NonfiniteWatch();
  NonfiniteWatch(const NonfiniteWatch&) = delete;
  NonfiniteWatch& operator=(const NonfiniteWatch&) = delete;

  /// Sets the row and position at which the following tokens start.
  void at(int64_t row, int64_t position);
  /// For Pass::observe.
  const PassObserver& observer() const { return observer_; }
  /// Checks cross-entropies, f64 [B · T], of rows of T tokens. One that is not finite counts for the logits.
  void losses(View losses, int64_t T);
  void note(int64_t row, int64_t position, int64_t part);  // row and position are relative to at()
  const std::optional<Place>& first() const { return first_; }

 private:
  int64_t row_ = 0, position_ = 0;
  PassObserver observer_;
  std::optional<Place> first_;
};

/// Repeats the computation while `watch` observes it. Collective: all ranks run the same segments.
using ReadAgain = std::function<void(NonfiniteWatch& watch)>;

/// Describes the first weight that is not finite and the first output that is not finite. If there is
/// neither, describes the gradient nearest to the loss that is not finite. Collective: every rank returns the
/// same text, about the earliest place on any rank. With several ranks the text names that rank.
std::string locate_nonfinite(Model& model, Context& ctx, const Ranks& ranks, const ReadAgain& again);
/// The same for this rank's micro-batches of a step, or for any rows in one process.
std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows,
                             const SequenceConfig& sequence, const Ranks& ranks);

}  // namespace natrix
