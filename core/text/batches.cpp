#include "core/text/batches.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "core/text/mixture.h"
#include "core/text/row_filler.h"
#include "core/text/window_order.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

class ShuffledWindows final : public BatchSource {
 public:
  ShuffledWindows(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length,
                  int64_t batch_size, uint64_t seed)
      : corpus_((require_window(*corpus, length), std::move(corpus))),
        documents_(documents),
        length_(length),
        batch_size_(batch_size),
        ring_(ring_of(*corpus_)),
        order_(ring_, length, seed) {}

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    RowFiller rows(documents_, row_count, length_);
    for (int64_t row = 0; row < row_count; ++row) {
      const int64_t drawn = step * batch_size_ + row_begin + row;  // windows before this one, over all epochs
      rows.fill(row, *corpus_, order_.begin(drawn), length_, ring_);
    }
    return rows.take();
  }

  int64_t batches_per_epoch() const override { return (order_.windows() + batch_size_ - 1) / batch_size_; }
  std::string identity() const override { return identity_of(*corpus_); }
  std::vector<DataFile> files() const override { return corpus_->files(); }

 private:
  std::shared_ptr<const Corpus> corpus_;
  Documents documents_;
  int64_t length_, batch_size_, ring_;
  WindowOrder order_;
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
    RowFiller rows(documents_, row_count, length_);
    for (int64_t row = 0; row < row_count; ++row) {
      rows.fill(row, *corpus_, (row_begin + row) * stretch_ + window * length_, length_, corpus_->size());
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

void require_window(const Corpus& corpus, int64_t length) {
  if (ring_of(corpus) >= length) return;
  throw InputError(
      fmt::format("{} has {} tokens, fewer than one window of sequence.length + 1 = {}; lower "
                  "sequence.length to at most {} or give more text",
                  corpus.name(), corpus.size(), length + 1, ring_of(corpus)));
}

std::unique_ptr<BatchSource> make_batch_source(const DataConfig& data, const SequenceConfig& sequence,
                                               const TrainConfig& train, const Tokenizer& tokenizer,
                                               int64_t vocab_size, const ReadOptions& options) {
  if (!data.batches.empty()) {
    if (!data.train.empty()) throw InputError("data.train and data.batches are both set; keep one of them");
    return fixed_batches(data.batches, sequence.length, train.batch_size, train.steps, vocab_size);
  }
  if (tokenizer.vocab_size() > vocab_size) {
    throw InputError(
        fmt::format("model.vocab_size is {}, but the tokenizer '{}' has {} ids; use auto or at least {}",
                    vocab_size, tokenizer.name(), tokenizer.vocab_size(), tokenizer.vocab_size()));
  }
  if (!data.train.empty() && data.train[0].weight) {
    std::vector<MixtureSource> sources;
    for (const DataEntry& entry : data.train)
      sources.push_back(
          {open_corpus_of({entry}, tokenizer, "data.train", options), entry.weight.value_or(1)});
    return mixture_of(std::move(sources), data.documents, sequence.length, train.batch_size, train.seed);
  }
  std::shared_ptr<const Corpus> corpus = open_corpus_of(data.train, tokenizer, "data.train", options);
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
  const bool first_bytes = corpus_->eod() == kNoEod && documents_ == Documents::kPacked;
  if (first_bytes || corpus_->masks_loss()) leave_out_unpredicted();
}

/// Targets that are not predicted: those that carry no loss, and without separators the first token of a
/// document (RowFiller::fill).
void EvalWindows::leave_out_unpredicted() {
  constexpr int64_t kBlock = int64_t{1} << 16;
  const bool first_bytes = corpus_->eod() == kNoEod && documents_ == Documents::kPacked;
  std::vector<int64_t> tokens(static_cast<size_t>(kBlock));
  std::vector<uint8_t> starts(static_cast<size_t>(kBlock)), loss(static_cast<size_t>(kBlock));
  for (int64_t done = 0; done < targets_; done += kBlock) {
    const int64_t here = std::min(kBlock, targets_ - done);
    corpus_->read(1 + done, here, tokens.data(), starts.data());
    corpus_->read_loss(1 + done, here, loss.data());
    const auto is_left_out = [&](int64_t i) {
      return loss[static_cast<size_t>(i)] == 0 || (first_bytes && starts[static_cast<size_t>(i)] == 1);
    };
    for (int64_t i = 0, end = 0; i < here; i = end + 1) {
      for (end = i; end < here && is_left_out(end);) ++end;
      if (end == i) continue;
      predictions_ -= end - i;
      bytes_ -= corpus_->text_bytes(1 + done + i, end - i);
    }
  }
}

int64_t EvalWindows::count() const {
  return (targets_ + length_ - 1) / length_;
}

Batch EvalWindows::windows(int64_t begin, int64_t rows, int64_t first, int64_t count) const {
  require(begin >= 0 && rows > 0, "evaluation windows that do not exist");
  require(first >= 0 && count > 0 && first + count <= length_, "tokens outside of an evaluation window");
  RowFiller filler(documents_, rows, count);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = (begin + row) * length_ + first;
    if (at >= targets_) {
      filler.nothing_to_predict(row);
    } else {
      filler.fill(row, *corpus_, at, std::min(count, targets_ - at), corpus_->size());
    }
  }
  return filler.take();
}

}  // namespace natrix
