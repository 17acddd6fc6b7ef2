// RankShare: the rows and tokens of a step that this rank runs.
//
//   data parallelism      rank d of dp takes rows [d · B / dp, (d + 1) · B / dp)
//   context parallelism   a row is divided into super-segments of cp · chunk tokens. Rank c of cp takes the
//                         c-th slice of each, which has chunk tokens. The last super-segment may be shorter;
//                         its slices differ by at most one token.
//
// The slices of a rank form a sequence of their own. Every rank's sequence has the same number of segments,
// so the segment schedule need not know about ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/carry/carry_spec.h"
#include "core/text/batches.h"

namespace natrix {

struct RankShare {
  int64_t dp_rank = 0, dp = 1, cp_rank = 0, cp = 1;
  CarryLinkKind link = CarryLinkKind::kRelay;

  struct Stretch {
    int64_t first, count;
  };
  /// The fewest tokens of a super-segment, so that each rank's slice is long enough for this model.
  int64_t fewest_tokens(const CarryList& carries) const;
  /// This rank's slice of the super-segment [first, first + count).
  Stretch part(int64_t first, int64_t count) const;
  /// This rank's slices of a row of `length` tokens, in order. None is empty if check_share() passes.
  std::vector<Stretch> stretches(int64_t length, int64_t chunk) const;
  /// This rank's part of a step's batch: its rows, and its slices of them.
  Batch take(const BatchSource& source, int64_t step, const ExperimentConfig& config) const;
};

/// Throws InputError if the rows cannot be divided evenly over dp, or the tokens over cp. The message says
/// which numbers would do.
void check_share(const ExperimentConfig& config, const CarryList& carries, int64_t dp, int64_t cp);

}  // namespace natrix
