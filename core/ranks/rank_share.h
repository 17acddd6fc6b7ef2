// RankShare: which rows and which tokens of a step are this process's.
//
//   data parallelism      rank d of dp takes rows [d · B / dp, (d + 1) · B / dp)
//   context parallelism   a row is cut into super-segments of cp · chunk tokens, of which rank c of cp
//                         takes the c-th chunk; the last, shorter super-segment is cut into cp parts that
//                         differ by one token at most
//
// So a rank's row is a sequence of its own, of as many segments as every other rank's, and the segment
// schedule need not know.
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
  /// Tokens that a super-segment must have at least, so that each rank's part is a segment for this model.
  int64_t fewest_tokens(const CarryList& carries) const;
  /// This rank's part of the super-segment of `count` tokens from `first` on.
  Stretch part(int64_t first, int64_t count) const;
  /// Of a row of `length` tokens, in order; none is empty where check_share() passes.
  std::vector<Stretch> stretches(int64_t length, int64_t chunk) const;
  /// This process's part of a step's batch.
  Batch take(const BatchSource& source, int64_t step, const ExperimentConfig& config) const;
};

/// InputError, saying which numbers would do, where rows or tokens cannot be shared out evenly over dp and
/// cp.
void check_share(const ExperimentConfig& config, const CarryList& carries, int64_t dp, int64_t cp);

}  // namespace natrix
