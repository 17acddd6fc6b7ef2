// RowFiller: lays stretches of corpora into the rows of a batch.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/text/batches.h"

namespace natrix {

class RowFiller {
 public:
  RowFiller(Documents documents, int64_t rows, int64_t length);

  /// Fills row `row` with `inputs` tokens from position `begin` on, and with their next tokens as targets. If
  /// inputs < length, the rest of the row has nothing to predict. Position `ring` is position 0 again.
  void fill(int64_t row, const Corpus& corpus, int64_t begin, int64_t inputs, int64_t ring);
  void nothing_to_predict(int64_t row);
  /// The row starts from nothing.
  void forget_before(int64_t row);
  Batch take() { return std::move(batch_); }

 private:
  bool packed_;
  int64_t length_;
  std::vector<int64_t> window_;
  std::vector<uint8_t> starts_, loss_;
  Batch batch_;
};

/// Fails if these are not rows of a batch.
void check_rows(int64_t step, int64_t row_begin, int64_t row_count, int64_t batch_size);

/// A hash of a thousand tokens from each of 64 places. read(begin, count, to) reads a part of the `size` tokens.
std::string hash_samples(int64_t size, const std::function<void(int64_t, int64_t, int64_t*)>& read);

/// The number of tokens of a corpus that is read as a ring, in which its last separator is its first.
int64_t ring_of(const Corpus& corpus);

}  // namespace natrix
