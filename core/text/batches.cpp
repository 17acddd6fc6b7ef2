#include "core/text/batches.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "core/files/mapped_file.h"
#include "core/files/safetensors.h"
#include "core/files/safetensors_header.h"
#include "core/files/xxhash64.h"
#include "core/text/random_order.h"
#include "kernels/loss.h"

namespace natrix {
namespace {

/// Lays windows of a corpus into the rows of a batch.
class RowFiller {
 public:
  RowFiller(const Corpus& corpus, Documents documents, int64_t rows, int64_t length)
      : corpus_(corpus), packed_(documents == Documents::kPacked), length_(length) {
    const auto size = static_cast<size_t>(length + 1);
    window_.resize(size);
    starts_.resize(size);
    batch_.tokens = Buffer(Dtype::kI64, {rows, length});
    batch_.targets = Buffer(Dtype::kI64, {rows, length});
    if (packed_) batch_.doc_start = Buffer(Dtype::kU8, {rows, length});
  }

  /// Fills row `row` with `inputs` tokens from position `begin` on, and with their next tokens as targets. If
  /// inputs < length, the rest of the row has nothing to predict. Position `ring` is position 0 again.
  void fill(int64_t row, int64_t begin, int64_t inputs, int64_t ring) {
    const int64_t before_end = std::min(inputs + 1, ring - begin);
    corpus_.read(begin, before_end, window_.data(), starts_.data());
    corpus_.read(0, inputs + 1 - before_end, window_.data() + before_end, starts_.data() + before_end);

    int64_t* tokens = batch_.tokens.view().row<int64_t>(row);
    int64_t* targets = batch_.targets.view().row<int64_t>(row);
    std::copy_n(window_.data(), inputs, tokens);
    std::copy_n(window_.data() + 1, inputs, targets);
    std::fill(targets + inputs, targets + length_, kIgnoreTarget);
    if (!packed_) return;
    std::copy_n(starts_.data(), inputs, batch_.doc_start.view().row<uint8_t>(row));
    if (corpus_.eod() != kNoEod) return;
    // Without a separator the first byte of the next document would be a target of this one.
    for (int64_t t = 0; t < inputs; ++t) {
      if (starts_[static_cast<size_t>(t + 1)] == 1) targets[t] = kIgnoreTarget;
    }
  }

  void nothing_to_predict(int64_t row) {
    int64_t* targets = batch_.targets.view().row<int64_t>(row);
    std::fill_n(targets, length_, kIgnoreTarget);
  }

  void forget_before(int64_t row) {
    if (packed_) *batch_.doc_start.view().row<uint8_t>(row) = 1;
  }

  Batch take() { return std::move(batch_); }

 private:
  const Corpus& corpus_;
  bool packed_;
  int64_t length_;
  std::vector<int64_t> window_;
  std::vector<uint8_t> starts_;
  Batch batch_;
};

void check_rows(int64_t step, int64_t row_begin, int64_t row_count, int64_t batch_size) {
  require(step >= 0, "a batch before the first step");
  require(row_begin >= 0 && row_count > 0 && row_begin + row_count <= batch_size,
          "rows outside of the batch");
}

/// read(begin, count, to) returns a part of the `size` tokens.
template <class Read>
std::string hash_samples(int64_t size, Read&& read) {
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

class ShuffledWindows final : public BatchSource {
 public:
  ShuffledWindows(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length,
                  int64_t batch_size, uint64_t seed)
      : corpus_(std::move(corpus)),
        documents_(documents),
        length_(length),
        batch_size_(batch_size),
        seed_(seed) {
    // The first and the last separator are the same token of the ring.
    ring_ = corpus_->size() - (corpus_->eod() == kNoEod ? 0 : 1);
    windows_ = ring_ / length_;
    if (windows_ == 0) {
      throw InputError(
          fmt::format("{} has {} tokens, fewer than one window of sequence.length + 1 = {}; lower "
                      "sequence.length to at most {} or give more text",
                      corpus_->name(), corpus_->size(), length_ + 1, ring_));
    }
  }

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    RowFiller rows(*corpus_, documents_, row_count, length_);
    for (int64_t row = 0; row < row_count; ++row) {
      const int64_t drawn = step * batch_size_ + row_begin + row;  // windows before this one, over all epochs
      rows.fill(row, window_begin(drawn / windows_, drawn % windows_), length_, ring_);
    }
    return rows.take();
  }

  int64_t batches_per_epoch() const override { return (windows_ + batch_size_ - 1) / batch_size_; }
  std::string identity() const override { return identity_of(*corpus_); }
  std::vector<DataFile> files() const override { return corpus_->files(); }

 private:
  int64_t window_begin(int64_t epoch, int64_t index) const {
    const uint64_t key = scatter(scatter(seed_) ^ static_cast<uint64_t>(epoch));
    const auto phase = static_cast<int64_t>(scatter(key) % static_cast<uint64_t>(ring_));
    return (phase + RandomOrder(windows_, key)[index] * length_) % ring_;
  }

  std::shared_ptr<const Corpus> corpus_;
  Documents documents_;
  int64_t length_, batch_size_;
  uint64_t seed_;
  int64_t ring_ = 0, windows_ = 0;
};

class SequentialStretches final : public BatchSource {
 public:
  SequentialStretches(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length,
                      int64_t batch_size)
      : corpus_(std::move(corpus)), documents_(documents), length_(length), batch_size_(batch_size) {
    stretch_ = (corpus_->size() - 1) / batch_size_;  // the last target is one past the last stretch
    windows_ = stretch_ / length_;
    if (windows_ == 0) {
      throw InputError(
          fmt::format("{} has {} tokens, which is less than one window for each row: train.batch_size · "
                      "sequence.length + 1 = {} · {} + 1; lower one of them or give more text",
                      corpus_->name(), corpus_->size(), batch_size_, length_));
    }
  }

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    const int64_t window = step % windows_;
    RowFiller rows(*corpus_, documents_, row_count, length_);
    for (int64_t row = 0; row < row_count; ++row) {
      rows.fill(row, (row_begin + row) * stretch_ + window * length_, length_, corpus_->size());
      if (window == 0) rows.forget_before(row);
    }
    Batch batch = rows.take();
    batch.continues = window != 0;
    return batch;
  }

  int64_t batches_per_epoch() const override { return windows_; }
  std::string identity() const override { return identity_of(*corpus_); }
  std::vector<DataFile> files() const override { return corpus_->files(); }

 private:
  std::shared_ptr<const Corpus> corpus_;
  Documents documents_;
  int64_t length_, batch_size_;
  int64_t stretch_ = 0, windows_ = 0;  // tokens and whole windows of a row's part of the corpus
};

/// Rows are read and not mapped. If the file becomes shorter during training, the result is an error that
/// names the file, not a SIGBUS.
class FixedBatches final : public BatchSource {
 public:
  FixedBatches(const std::string& path, int64_t length, int64_t batch_size, int64_t steps, int64_t vocab_size)
      : file_(path), length_(length), batch_size_(batch_size), vocab_size_(vocab_size) {
    const Safetensors stored(path);
    const View tokens = stored.at("tokens");
    if (tokens.dtype != Dtype::kI64 || tokens.shape.rank() != 3) {
      throw InputError(fmt::format("{}: \"tokens\" is {}; expected i64[steps, batch, length + 1]", path,
                                   tokens.to_string()));
    }
    if (tokens.extent(1) != batch_size) {
      throw InputError(fmt::format("{}: \"tokens\" has {} rows a step, but train.batch_size is {}", path,
                                   tokens.extent(1), batch_size));
    }
    if (tokens.extent(2) != length + 1) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} tokens a row, but sequence.length is {}, which takes {}", path,
                      tokens.extent(2), length, length + 1));
    }
    if (tokens.extent(0) < steps) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} steps, but train.steps is {}", path, tokens.extent(0), steps));
    }
    steps_ = tokens.extent(0);
    first_byte_ = first_byte_of(path, "tokens");
    for (int64_t row = 0; row < steps * batch_size_; ++row) check_row(row, tokens.row<int64_t>(row));
  }

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    if (step >= steps_) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} steps, and step {} was asked for", file_.path(), steps_, step));
    }
    Batch batch;
    batch.tokens = Buffer(Dtype::kI64, {row_count, length_});
    batch.targets = Buffer(Dtype::kI64, {row_count, length_});
    std::vector<int64_t> stored(static_cast<size_t>(length_ + 1));
    for (int64_t row = 0; row < row_count; ++row) {
      const int64_t in_file = step * batch_size_ + row_begin + row;
      read(in_file * (length_ + 1), length_ + 1, stored.data());
      check_row(in_file, stored.data());
      std::copy_n(stored.data(), length_, batch.tokens.view().row<int64_t>(row));
      std::copy_n(stored.data() + 1, length_, batch.targets.view().row<int64_t>(row));
    }
    return batch;
  }

  int64_t batches_per_epoch() const override { return -1; }
  std::string identity() const override {
    return hash_samples(steps_ * batch_size_ * (length_ + 1),
                        [&](int64_t begin, int64_t count, int64_t* to) { read(begin, count, to); });
  }
  std::vector<DataFile> files() const override {
    return {{.path = file_.path(), .size = file_.size(), .checksum = {}}};
  }

 private:
  /// Offset of the tensor's data from the start of the file.
  static int64_t first_byte_of(const std::string& path, std::string_view tensor) {
    const MappedFile map(path);
    const SafetensorsHeader header = parse_safetensors_header(map.text(), path);
    for (const StoredTensor& t : header.tensors) {
      if (t.name == tensor) return header.data_start + t.begin;
    }
    throw RunError(fmt::format("{} was changed while it was opened", path));
  }

  void read(int64_t begin, int64_t count, int64_t* to) const {
    constexpr int64_t kBytes = sizeof(int64_t);
    file_.read(first_byte_ + begin * kBytes, count * kBytes, to);
  }

  void check_row(int64_t row, const int64_t* stored) const {
    for (int64_t t = 0; t <= length_; ++t) {
      if (0 <= stored[t] && stored[t] < vocab_size_) continue;
      throw InputError(
          fmt::format("{}: \"tokens\" at step {}, row {}, position {} is {}, outside of the model's "
                      "vocabulary of {}",
                      file_.path(), row / batch_size_, row % batch_size_, t, stored[t], vocab_size_));
    }
  }

  SourceFile file_;
  int64_t length_, batch_size_, vocab_size_;
  int64_t steps_ = 0, first_byte_ = 0;
};

}  // namespace

std::string identity_of(const Corpus& corpus) {
  return hash_samples(corpus.size(), [&](int64_t begin, int64_t count, int64_t* to) {
    corpus.read(begin, count, to, nullptr);
  });
}

std::unique_ptr<BatchSource> shuffled_windows(std::shared_ptr<const Corpus> corpus, Documents documents,
                                              int64_t length, int64_t batch_size, uint64_t seed) {
  return std::make_unique<ShuffledWindows>(std::move(corpus), documents, length, batch_size, seed);
}

std::unique_ptr<BatchSource> sequential_stretches(std::shared_ptr<const Corpus> corpus, Documents documents,
                                                  int64_t length, int64_t batch_size) {
  return std::make_unique<SequentialStretches>(std::move(corpus), documents, length, batch_size);
}

std::unique_ptr<BatchSource> fixed_batches(const std::string& path, int64_t length, int64_t batch_size,
                                           int64_t steps, int64_t vocab_size) {
  return std::make_unique<FixedBatches>(path, length, batch_size, steps, vocab_size);
}

std::unique_ptr<BatchSource> make_batch_source(const DataConfig& data, const SequenceConfig& sequence,
                                               const TrainConfig& train, const Tokenizer& tokenizer,
                                               int64_t vocab_size) {
  if (!data.batches.empty()) {
    if (!data.train.empty()) throw InputError("data.train and data.batches are both set; keep one of them");
    return fixed_batches(data.batches, sequence.length, train.batch_size, train.steps, vocab_size);
  }
  if (tokenizer.vocab_size() > vocab_size) {
    throw InputError(
        fmt::format("model.vocab_size is {}, but the tokenizer '{}' has {} ids; use auto or at least {}",
                    vocab_size, tokenizer.name(), tokenizer.vocab_size(), tokenizer.vocab_size()));
  }
  std::shared_ptr<const Corpus> corpus = open_corpus(data.train, tokenizer);
  if (data.order == DataOrder::kShuffled) {
    return shuffled_windows(std::move(corpus), data.documents, sequence.length, train.batch_size, train.seed);
  }
  return sequential_stretches(std::move(corpus), data.documents, sequence.length, train.batch_size);
}

EvalWindows::EvalWindows(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length,
                         int64_t max_tokens)
    : corpus_(std::move(corpus)), documents_(documents) {
  require(length > 0 && max_tokens > 0, "an evaluation of nothing");
  targets_ = std::min(corpus_->size() - 1, max_tokens);
  if (targets_ == 0) {
    throw InputError(
        fmt::format("{} has a single token: there is nothing to predict; give more text", corpus_->name()));
  }
  length_ = std::min(length, targets_);
  predictions_ = targets_;
  bytes_ = corpus_->text_bytes(1, targets_);
  if (corpus_->eod() == kNoEod && documents_ == Documents::kPacked) leave_out_first_bytes();
}

/// Without separators the first token of a document is not a target; see RowFiller::fill.
void EvalWindows::leave_out_first_bytes() {
  constexpr int64_t kBlock = int64_t{1} << 16;
  std::vector<int64_t> tokens(static_cast<size_t>(kBlock));
  std::vector<uint8_t> starts(static_cast<size_t>(kBlock));
  for (int64_t done = 0; done < targets_; done += kBlock) {
    const int64_t here = std::min(kBlock, targets_ - done);
    corpus_->read(1 + done, here, tokens.data(), starts.data());
    for (int64_t i = 0; i < here; ++i) {
      if (starts[static_cast<size_t>(i)] == 0) continue;
      --predictions_;
      bytes_ -= corpus_->text_bytes(1 + done + i, 1);
    }
  }
}

int64_t EvalWindows::count() const {
  return (targets_ + length_ - 1) / length_;
}

Batch EvalWindows::windows(int64_t begin, int64_t rows, int64_t first, int64_t count) const {
  require(begin >= 0 && rows > 0, "evaluation windows that do not exist");
  require(first >= 0 && count > 0 && first + count <= length_, "tokens outside of an evaluation window");
  RowFiller filler(*corpus_, documents_, rows, count);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = (begin + row) * length_ + first;
    if (at >= targets_) {
      filler.nothing_to_predict(row);
    } else {
      filler.fill(row, at, std::min(count, targets_ - at), corpus_->size());
    }
  }
  return filler.take();
}

}  // namespace natrix
