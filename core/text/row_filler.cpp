#include "core/text/row_filler.h"

#include <algorithm>

#include "core/files/xxhash64.h"
#include "kernels/base/check.h"
#include "kernels/loss.h"

namespace natrix {

RowFiller::RowFiller(Documents documents, int64_t rows, int64_t length)
    : packed_(documents == Documents::kPacked),
      length_(length),
      window_(static_cast<size_t>(length + 1)),
      starts_(static_cast<size_t>(length + 1)) {
  batch_.tokens = Buffer(Dtype::kI64, {rows, length});
  batch_.targets = Buffer(Dtype::kI64, {rows, length});
  if (packed_) batch_.doc_start = Buffer(Dtype::kU8, {rows, length});
}

void RowFiller::fill(int64_t row, const Corpus& corpus, int64_t begin, int64_t inputs, int64_t ring) {
  const int64_t before_end = std::min(inputs + 1, ring - begin);
  corpus.read(begin, before_end, window_.data(), starts_.data());
  corpus.read(0, inputs + 1 - before_end, window_.data() + before_end, starts_.data() + before_end);

  int64_t* tokens = batch_.tokens.view().row<int64_t>(row);
  int64_t* targets = batch_.targets.view().row<int64_t>(row);
  std::copy_n(window_.data(), inputs, tokens);
  std::copy_n(window_.data() + 1, inputs, targets);
  std::fill(targets + inputs, targets + length_, kIgnoreTarget);
  if (corpus.masks_loss()) {
    loss_.resize(window_.size());
    corpus.read_loss(begin, before_end, loss_.data());
    corpus.read_loss(0, inputs + 1 - before_end, loss_.data() + before_end);
    for (int64_t t = 0; t < inputs; ++t) {
      if (loss_[static_cast<size_t>(t + 1)] == 0) targets[t] = kIgnoreTarget;
    }
  }
  if (!packed_) return;
  std::copy_n(starts_.data(), inputs, batch_.doc_start.view().row<uint8_t>(row));
  if (corpus.eod() != kNoEod) return;
  // Without a separator the first byte of the next document would be a target of this one.
  for (int64_t t = 0; t < inputs; ++t) {
    if (starts_[static_cast<size_t>(t + 1)] == 1) targets[t] = kIgnoreTarget;
  }
}

void RowFiller::nothing_to_predict(int64_t row) {
  std::fill_n(batch_.targets.view().row<int64_t>(row), length_, kIgnoreTarget);
}

void RowFiller::forget_before(int64_t row) {
  if (packed_) *batch_.doc_start.view().row<uint8_t>(row) = 1;
}

void check_rows(int64_t step, int64_t row_begin, int64_t row_count, int64_t batch_size) {
  require(step >= 0, "a batch before the first step");
  require(row_begin >= 0 && row_count > 0 && row_begin + row_count <= batch_size,
          "rows outside of the batch");
}

std::string hash_samples(int64_t size, const std::function<void(int64_t, int64_t, int64_t*)>& read) {
  constexpr int64_t kPlaces = 64;
  Xxhash64 hash;
  hash.add(&size, sizeof size);
  std::vector<int64_t> sample(1024);
  for (int64_t place = 0; place < kPlaces; ++place) {
    const int64_t begin = size / kPlaces * place;
    const int64_t count = std::min(static_cast<int64_t>(sample.size()), size - begin);
    read(begin, count, sample.data());
    hash.add(sample.data(), count * static_cast<int64_t>(sizeof(int64_t)));
  }
  return hash.hex();
}

int64_t ring_of(const Corpus& corpus) {
  return corpus.size() - (corpus.eod() == kNoEod ? 0 : 1);
}

}  // namespace natrix
