// Batches: the tokens that each step trains on. A batch depends only on the step number. To resume, a run
// continues to count steps, and ranks take their rows of a step without communication.
//
// A step has B rows of T tokens. The target at [b, t] is the token after the input at [b, t].
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/text/corpus.h"
#include "core/tokenizers/tokenizer.h"
#include "kernels/base/buffer.h"

namespace natrix {

struct Batch {
  Buffer tokens;           // [rows, T] i64
  Buffer targets;          // [rows, T] i64; kIgnoreTarget: nothing to predict, or not to be learnt
  Buffer doc_start;        // [rows, T] u8: 1 resets the carried states; empty if documents are joined
  bool continues = false;  // row b starts where row b of the previous step ended, so carried states fit
};

/// A hash that tells a corpus from others, wherever its files are. It covers the number of tokens and samples
/// of a thousand tokens from 64 places.
std::string identity_of(const Corpus& corpus);

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// Rows [row_begin, row_begin + row_count) of the B rows of a step. They are the same on every machine, and
  /// do not depend on how the rows are divided over calls.
  virtual Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const = 0;
  /// The number of steps of one epoch, rounded up; −1 if the source has no epochs.
  virtual int64_t batches_per_epoch() const = 0;
  /// A hash that tells these data from others, as identity_of() does.
  virtual std::string identity() const = 0;
  /// The files that the data are read from, in order; empty if there are none.
  virtual std::vector<DataFile> files() const { return {}; }
  /// What the log of a run of `steps` steps says of the data, a line each.
  virtual std::vector<std::string> remarks(int64_t /*steps*/) const { return {}; }
};

/// InputError if the corpus is shorter than one window of `length` inputs.
void require_window(const Corpus& corpus, int64_t length);

/// order: shuffled. Divides the corpus into windows of T inputs. Each epoch has its own random phase and
/// random order. The corpus is read as a ring, in which the first separator follows the last document. Every
/// epoch therefore has floor(ring / T) windows for any phase, and no token is the target of two windows.
/// InputError if the corpus is shorter than one window.
std::unique_ptr<BatchSource> shuffled_windows(std::shared_ptr<const Corpus> corpus, Documents documents,
                                              int64_t length, int64_t batch_size, uint64_t seed);

/// order: sequential. Divides the corpus into B equal parts. Row b reads the b-th part step by step, in whole
/// windows. After the last window it starts again, with continues = false and doc_start = 1.
std::unique_ptr<BatchSource> sequential_stretches(std::shared_ptr<const Corpus> corpus, Documents documents,
                                                  int64_t length, int64_t batch_size);

/// data.batches: the rows of the tensor "tokens", [steps, B, T + 1] i64, of a safetensors file, in order and
/// without resets. All tokens are checked against `vocab_size` here, before training starts, and again when
/// they are read, because the file may have changed.
std::unique_ptr<BatchSource> fixed_batches(const std::string& path, int64_t length, int64_t batch_size,
                                           int64_t steps, int64_t vocab_size);

/// The source that the keys data.* ask for: a mixture (core/text/mixture.h) if data.train has weights. `vocab_size` is the model's. It is at least the tokenizer's.
/// Tokens of data.batches are checked against it and do not depend on the tokenizer.
std::unique_ptr<BatchSource> make_batch_source(const DataConfig& data, const SequenceConfig& sequence,
                                               const TrainConfig& train, const Tokenizer& tokenizer,
                                               int64_t vocab_size, const ReadOptions& options = {});

/// A held-out text as disjoint windows from its start. Every token except the first is predicted once, but for
/// those that a conversation masks (Corpus::read_loss). The last window is padded with kIgnoreTarget.
///
///   bits per byte = (sum of nats over all windows / ln 2) / bytes()
class EvalWindows {
 public:
  /// At most `max_tokens` predictions. Windows have `length` inputs, or fewer if one window holds everything.
  EvalWindows(std::shared_ptr<const Corpus> corpus, Documents documents, int64_t length, int64_t max_tokens);

  int64_t count() const;                                // windows
  int64_t length() const { return length_; }            // inputs of a window
  int64_t predictions() const { return predictions_; }  // targets of all windows
  int64_t bytes() const { return bytes_; }              // bytes of text of these targets
  std::vector<DataFile> files() const { return corpus_->files(); }
  /// Windows [begin, begin + rows) as rows of a batch. Rows past count() have nothing to predict.
  Batch windows(int64_t begin, int64_t rows) const { return windows(begin, rows, 0, length_); }
  /// Only tokens [first, first + count) of these windows, because a window may be longer than memory.
  Batch windows(int64_t begin, int64_t rows, int64_t first, int64_t count) const;

 private:
  void leave_out_unpredicted();

  std::shared_ptr<const Corpus> corpus_;
  Documents documents_;
  int64_t length_ = 0;
  int64_t targets_ = 0;  // targets in all windows, including ignored ones
  int64_t predictions_ = 0, bytes_ = 0;
};

}  // namespace natrix
