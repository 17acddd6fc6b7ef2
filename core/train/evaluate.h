// Evaluation: loss of held-out text, by windows or in one sequence, and by position.
#pragma once

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"
#include "core/text/batches.h"

namespace natrix {

struct EvalFigures {
  double nats = 0;  // sum over all predictions
  int64_t predictions = 0;
  int64_t bytes = 0;  // of text that the predictions stand for
  /// Mean loss of the predictions at positions [from, next from): buckets that double in width.
  struct Bucket {
    int64_t from = 0;
    double nats = 0;
    int64_t predictions = 0;
    double loss() const { return predictions > 0 ? nats / static_cast<double>(predictions) : 0; }
  };
  std::vector<Bucket> by_position;
  /// Where a number was first not finite, in words (core/sequence/diagnose.h), if the sum is not; else empty.
  /// The rest was not read then: the figures mean nothing.
  std::string nonfinite;

  double loss() const;           // nats a prediction
  double bits_per_byte() const;  // (nats / ln 2) / bytes
  double perplexity() const;
};

/// guard(read) calls read(), which reads this rank's next tokens from the disk.
using ReadGuard = std::function<void(const std::function<void()>&)>;

/// Reads every window from a zero state. Ranks share them out: those of dp take windows in turn, `rows` at a
/// time (some of them empty, so that all read as often), and those of cp read each window together.
/// Collective; every rank returns the sums. progress(tokens of all ranks) is called after each segment.
/// All ranks call `guard` equally often.
EvalFigures evaluate(
    Model& model, Context& ctx, const EvalWindows& windows, int64_t rows, int64_t chunk, const Ranks& ranks,
    const std::function<void(int64_t)>& progress = [](int64_t) {},
    const ReadGuard& guard = [](const auto& read) { read(); });

/// Reads the whole corpus as one sequence of any length, `chunk` tokens in a rank's memory at once. Positions
/// count from the start of a document if documents are packed, else from the start of the corpus. Collective
/// over the ranks of cp; there are no others.
EvalFigures evaluate_stream(
    Model& model, Context& ctx, const Corpus& corpus, Documents documents, int64_t chunk, const Ranks& ranks,
    const std::function<void(int64_t)>& progress = [](int64_t) {});

}  // namespace natrix
