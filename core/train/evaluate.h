// Evaluation: the loss of held-out text, run as windows or as one sequence, in total and by position.
#pragma once

#include "core/ranks/ranks.h"
#include "core/sequence/segment_schedule.h"
#include "core/text/batches.h"

namespace natrix {

struct EvalFigures {
  double nats = 0;  // sum over all predictions
  int64_t predictions = 0;
  int64_t bytes = 0;  // of the text whose tokens were predicted
  /// Mean loss of the predictions at positions [from, next from): buckets that double in width.
  struct Bucket {
    int64_t from = 0;
    double nats = 0;
    int64_t predictions = 0;
    double loss() const { return predictions > 0 ? nats / static_cast<double>(predictions) : 0; }
  };
  std::vector<Bucket> by_position;
  /// If the sum is not finite: where the first such number appeared (core/sequence/diagnose.h). The rest of
  /// the text was not read then, and the other figures mean nothing. Empty if the sum is finite.
  std::string nonfinite;

  double loss() const;           // nats a prediction
  double bits_per_byte() const;  // (nats / ln 2) / bytes
  double perplexity() const;
};

/// guard(read) calls read(), which reads this rank's next tokens from the disk.
using ReadGuard = std::function<void(const std::function<void()>&)>;

/// Runs every window from a zero state. Ranks share the windows: the ranks of dp take `rows` windows at a
/// time in turn, and the ranks of cp run each window together. Some ranks get empty rows, so that all ranks
/// make the same number of calls. Collective; every rank returns the sums. progress(tokens of all ranks) is
/// called after each segment. All ranks call `guard` equally often.
EvalFigures evaluate(
    Model& model, Context& ctx, const EvalWindows& windows, int64_t rows, int64_t chunk, const Ranks& ranks,
    const std::function<void(int64_t)>& progress = [](int64_t) {},
    const ReadGuard& guard = [](const auto& read) { read(); });

/// Runs the whole corpus as one sequence of any length; each rank runs `chunk` tokens at once. Positions
/// count from the start of a document if documents are packed, else from the start of the corpus. Collective
/// over the ranks of cp; the run must have no others.
EvalFigures evaluate_stream(
    Model& model, Context& ctx, const Corpus& corpus, Documents documents, int64_t chunk, const Ranks& ranks,
    const std::function<void(int64_t)>& progress = [](int64_t) {});

}  // namespace natrix
