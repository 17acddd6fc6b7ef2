// Batches: which tokens step n trains on. A batch is a function of the step number alone, so to resume is to
// go on counting, and ranks take rows of the same step without talking to each other.
//
// B rows of a step, T tokens a row; the input at [b, t] is followed by the target at [b, t], the next token.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/text/corpus.h"
#include "core/text/tokenizer.h"
#include "kernels/base/buffer.h"

namespace natrix {

struct Batch {
  Buffer tokens;     // [rows, T] i64
  Buffer targets;    // [rows, T] i64; kIgnoreTarget where there is nothing to predict
  Buffer doc_start;  // [rows, T] u8: 1 where what came before is forgotten; empty when documents are joined
  bool continues = false;  // row b goes on where row b of the step before ended: carried states fit
};

/// Tells a corpus from others, wherever it lies: a hash of how many tokens there are, and of samples of a
/// thousand of them from 64 places.
std::string identity_of(const Corpus& corpus);

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// Rows [row_begin, row_begin + row_count) of a step's B.
  /// The same on every machine and for every split into rows.
  virtual Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const = 0;
  /// Steps that go through the corpus once, rounded up; −1 where there is no such thing.
  virtual int64_t batches_per_epoch() const = 0;
  /// Tells these data from others, wherever they lie, as identity_of() does.
  virtual std::string identity() const = 0;
  /// What it is read from, in order; empty where there are no files.
  virtual std::vector<DataFile> files() const { return {}; }
};

/// order: shuffled. The corpus is cut into windows of T inputs, at another random phase and in another random
/// order each epoch. It is read as a ring, in which the first separator follows the last document, so every
/// epoch has floor(ring / T) windows whatever the phase, and no token is the target of two of them.
/// InputError if the corpus is shorter than one window.
std::unique_ptr<BatchSource> shuffled_windows(std::shared_ptr<const Corpus> corpus, Documents documents,
                                              int64_t length, int64_t batch_size, uint64_t seed);

/// order: sequential. Row b reads the b-th of B equal stretches, step after step; after its end (whole
/// windows only) it starts again, with continues false and doc_start 1.
std::unique_ptr<BatchSource> sequential_stretches(std::shared_ptr<const Corpus> corpus, Documents documents,
                                                  int64_t length, int64_t batch_size);

/// data.batches: the rows of "tokens" [steps, B, T + 1] i64 in a safetensors file, in order, without resets.
/// All its tokens are checked against `vocab_size` here, before training starts, and once more when they are
/// read: the file may have changed.
std::unique_ptr<BatchSource> fixed_batches(const std::string& path, int64_t length, int64_t batch_size,
                                           int64_t steps, int64_t vocab_size);

/// What data.* asks for. `vocab_size` is the model's: no smaller than the tokenizer's, and what data.batches
/// is checked against (data.batches does not look at the tokenizer).
std::unique_ptr<BatchSource> make_batch_source(const DataConfig& data, const SequenceConfig& sequence,
                                               const TrainConfig& train, const Tokenizer& tokenizer,
                                               int64_t vocab_size);

/// A held-out text as disjoint windows from its start: every token but the very first is predicted once. The
/// last window is filled up with kIgnoreTarget.
///
///   bits per byte = (sum of nats over all windows / ln 2) / bytes()
class EvalWindows {
 public:
  /// At most `max_tokens` predictions; windows of `length` inputs, or shorter if one window holds everything.
  EvalWindows(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length, int64_t max_tokens);

  int64_t count() const;                                // windows
  int64_t length() const { return length_; }            // inputs a window
  int64_t predictions() const { return predictions_; }  // targets in all windows together
  int64_t bytes() const { return bytes_; }              // of text that these targets stand for
  std::vector<DataFile> files() const { return corpus_->files(); }
  /// Windows [begin, begin + rows) as rows of a batch; past count() a row has nothing to predict.
  Batch windows(int64_t begin, int64_t rows) const { return windows(begin, rows, 0, length_); }
  /// Of these, tokens [first, first + count) only: a window may be longer than memory.
  Batch windows(int64_t begin, int64_t rows, int64_t first, int64_t count) const;

 private:
  void leave_out_first_bytes();

  std::shared_ptr<const Corpus> corpus_;
  Documents documents_;
  int64_t length_ = 0;
  int64_t targets_ = 0;  // tokens walked: the predictions, and what is ignored between them
  int64_t predictions_ = 0, bytes_ = 0;
};

}  // namespace natrix
