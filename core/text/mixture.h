// A mixture: rows of several corpora, in proportion to their weights.
//
// Each row comes from one corpus, so a weight is a part of all rows, and of all tokens. Which one is a function of
// the number of rows before it: after any number n of rows, a source of weight w (of a sum of 1) has given
// n·w ± 1. Each source has its own random order and its own epochs: a small one with a large weight is repeated
// more often than a large one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "configs/schema/data_entry.h"
#include "core/text/batches.h"

namespace natrix {

/// Who gives the next row. The pattern repeats after period() rows: at most a million, to which weights are
/// rounded, but no weight to zero.
class SourceTurns {
 public:
  /// Weights are positive and finite; their sum need not be 1. At most kMostSources of them.
  explicit SourceTurns(const std::vector<double>& weights);

  struct Turn {
    size_t source = 0;
    int64_t before = 0;  // rows that the source gave before this one
  };
  Turn operator[](int64_t row) const;

  int64_t period() const { return static_cast<int64_t>(turns_.size()); }
  /// Rows of a period that a source gives.
  int64_t share(size_t source) const { return shares_[source]; }

 private:
  struct Place {
    uint16_t source;
    uint32_t before;  // within the period
  };
  std::vector<int64_t> shares_;
  std::vector<Place> turns_;
};

struct MixtureSource {
  std::shared_ptr<const Corpus> corpus;
  double weight = 1;
};

/// InputError if a corpus is shorter than one window.
std::unique_ptr<BatchSource> mixture_of(std::vector<MixtureSource> sources, Documents documents,
                                        int64_t length, int64_t batch_size, uint64_t seed);

}  // namespace natrix
