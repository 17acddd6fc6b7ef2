#include "core/train/evaluate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>
#include <span>
#include <vector>

#include "core/sequence/diagnose.h"
#include "core/sequence/joint_reading.h"
#include "kernels/loss.h"

namespace natrix {
namespace {

/// Bucket 0 holds positions [0, 16), bucket i ≥ 1 holds [16 · 2^(i−1), 16 · 2^i).
constexpr int64_t kFirstBucket = 16;

size_t bucket_of(int64_t position) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(position / kFirstBucket)));
}

int64_t bucket_begin(size_t bucket) {
  return bucket == 0 ? 0 : kFirstBucket << (bucket - 1);
}

void add(EvalFigures& f, int64_t position, double nats) {
  const size_t b = bucket_of(position);
  while (f.by_position.size() <= b) {
    const size_t i = f.by_position.size();
    f.by_position.push_back({.from = bucket_begin(i)});
  }
  f.by_position[b].nats += nats;
  ++f.by_position[b].predictions;
  f.nats += nats;
  ++f.predictions;
}

/// Without separators the first byte of a document follows nothing and is not a target (see EvalWindows).
/// Returns the number of such bytes.
int64_t ignore_first_bytes(View targets, const uint8_t* starts) {
  int64_t ignored = 0;
  for (int64_t t = 0; t < targets.count(); ++t) {
    if (starts[t] == 0) continue;
    targets.as<int64_t>()[t] = kIgnoreTarget;
    ++ignored;
  }
  return ignored;
}

/// Targets of a conversation that the assistant did not say, from position `begin` of the corpus on. Returns the
/// number of their bytes.
int64_t ignore_masked(View targets, const Corpus& corpus, int64_t begin) {
  if (!corpus.masks_loss()) return 0;
  const int64_t count = targets.count();
  std::vector<uint8_t> loss(static_cast<size_t>(count));
  corpus.read_loss(begin, count, loss.data());
  int64_t bytes = 0;
  for (int64_t t = 0, end = 0; t < count; t = end + 1) {
    for (end = t; end < count && loss[static_cast<size_t>(end)] == 0;)
      targets.as<int64_t>()[end++] = kIgnoreTarget;
    if (end > t) bytes += corpus.text_bytes(begin + t, end - t);
  }
  return bytes;
}

}  // namespace

double EvalFigures::loss() const {
  return predictions > 0 ? nats / static_cast<double>(predictions) : 0;
}
double EvalFigures::bits_per_byte() const {
  return bytes > 0 ? nats / std::numbers::ln2 / static_cast<double>(bytes) : 0;
}
double EvalFigures::perplexity() const {
  return std::exp(loss());
}

namespace {

/// The losses, f64 [B · t], of this rank's slice of rows: hidden [B, t, D], targets [B, t].
Buffer losses_of(Model& model, Context& ctx, View hidden, View targets) {
  Buffer losses(Dtype::kF64, {targets.count()});
  model.head().loss(ctx, hidden, targets, losses.view());
  return losses;
}

/// positions: one for each of the t columns.
void count_losses(EvalFigures& f, View losses, View targets, std::span<const int64_t> positions) {
  const int64_t columns = targets.cols();
  for (int64_t i = 0; i < targets.count(); ++i) {
    if (targets.as<int64_t>()[i] != kIgnoreTarget)
      add(f, positions[static_cast<size_t>(i % columns)], losses.as<double>()[i]);
  }
}

/// Ends an evaluation after a number that is not finite. One process stops at once. Several ranks ask each
/// other after round 1, 2, 4, 8, …: this costs next to nothing, and at most doubles the rounds that are run.
class Alarm {
 public:
  Alarm(Context& ctx, const Ranks& ranks) : ctx_(ctx), ranks_(ranks) {}

  /// After each round. Collective; the same on every rank.
  bool rings(bool found) {
    const bool asks = ranks_.world.size() == 1 || std::has_single_bit(static_cast<uint64_t>(++rounds_));
    return asks && ranks_.world.max(ctx_, found) != 0;
  }

 private:
  Context& ctx_;
  const Ranks& ranks_;
  int64_t rounds_ = 0;
};

/// Sums the figures over all ranks. Positions are below `length`.
EvalFigures sum_over_ranks(EvalFigures f, Context& ctx, const Ranks& ranks, int64_t length) {
  if (ranks.world.size() == 1) return f;
  f.by_position.resize(bucket_of(length) + 1);
  std::vector<double> sums = {f.nats, static_cast<double>(f.predictions), static_cast<double>(f.bytes)};
  for (const EvalFigures::Bucket& b : f.by_position) {
    sums.push_back(b.nats);
    sums.push_back(static_cast<double>(b.predictions));
  }
  ranks.world.sum(ctx, sums);
  EvalFigures all{
      .nats = sums[0], .predictions = static_cast<int64_t>(sums[1]), .bytes = static_cast<int64_t>(sums[2])};
  for (size_t b = 0; 2 * b + 4 < sums.size(); ++b) {
    all.by_position.push_back({bucket_begin(b), sums[2 * b + 3], static_cast<int64_t>(sums[2 * b + 4])});
  }
  while (!all.by_position.empty() && all.by_position.back().predictions == 0) all.by_position.pop_back();
  return all;
}

View view_of(const Buffer& b) {
  return b ? b.view() : View{};
}

/// The positions of tokens in their documents, for a caller that reads a corpus from its beginning and skips
/// parts of it.
class DocumentPositions {
 public:
  DocumentPositions(const Corpus& corpus, Documents documents)
      : corpus_(corpus), packed_(documents == Documents::kPacked) {}

  /// The positions of tokens [first, first + count), given where documents start among them.
  std::vector<int64_t> take(int64_t first, int64_t count, const uint8_t* starts) {
    std::vector<int64_t> skipped(kBlock);
    std::vector<uint8_t> marks(kBlock);
    while (packed_ && next_ < first) {
      const int64_t n = std::min(kBlock, first - next_);
      corpus_.read(next_, n, skipped.data(), marks.data());
      pass(n, marks.data(), nullptr);
    }
    std::vector<int64_t> positions(static_cast<size_t>(count));
    next_ = first;
    pass(count, starts, positions.data());
    return positions;
  }

 private:
  static constexpr int64_t kBlock = 1 << 16;

  void pass(int64_t count, const uint8_t* starts, int64_t* positions) {
    for (int64_t t = 0; t < count; ++t, ++next_) {
      if (packed_ && starts[t] != 0) document_ = next_;
      if (positions != nullptr) positions[t] = next_ - document_;
    }
  }

  const Corpus& corpus_;
  bool packed_;
  int64_t next_ = 0, document_ = 0;  // tokens passed; the first token of the current document
};

/// A rank's slice of a round.
struct Part {
  int64_t row, column;  // of its first token
  View hidden, targets;
  std::span<const int64_t> positions;  // one for each of its columns
  int64_t ignored = 0;                 // targets that do not count, one byte of text each
};

/// Runs a text in rounds that all ranks make together. Calls `on_part` if this rank's tokens count. After
/// each round calls `on_round` with the tokens that all ranks ran in it; if that returns true, the run ends.
struct Visitor {
  std::function<void(const Part&)> on_part;
  std::function<bool(int64_t)> on_round;
  NonfiniteWatch* watch = nullptr;
};
using ReadText = std::function<void(JointReading&, const Visitor&)>;

/// Adds up the losses of a text. If one is not finite, finds where that began.
EvalFigures count_text(Model& model, Context& ctx, const Ranks& ranks, int64_t chunk, int64_t length,
                       EvalFigures figures, const std::function<void(int64_t)>& progress,
                       const ReadText& read) {
  JointReading reading(model, ctx, ranks, chunk);
  Alarm alarm(ctx, ranks);
  read(reading, {.on_part =
                     [&](const Part& p) {
                       const Buffer losses = losses_of(model, ctx, p.hidden, p.targets);
                       count_losses(figures, losses.view(), p.targets, p.positions);
                       figures.bytes -= p.ignored;
                     },
                 .on_round =
                     [&](int64_t tokens) {
                       progress(tokens);
                       return alarm.rings(!std::isfinite(figures.nats));
                     }});
  EvalFigures all = sum_over_ranks(std::move(figures), ctx, ranks, length);
  if (std::isfinite(all.nats)) return all;
  all.nonfinite = locate_nonfinite(model, ctx, ranks, [&](NonfiniteWatch& watch) {
    Alarm again(ctx, ranks);
    reading.observe(&watch.observer());
    read(reading, {.on_part =
                       [&](const Part& p) {
                         watch.at(p.row, p.column);
                         const Buffer losses = losses_of(model, ctx, p.hidden, p.targets);
                         watch.losses(losses.view(), p.targets.cols());
                       },
                   .on_round = [&](int64_t) { return again.rings(watch.first().has_value()); },
                   .watch = &watch});
  });
  return all;
}

/// Runs every window from a zero state, `rows` windows per rank at once.
void read_windows(JointReading& reading, const EvalWindows& windows, int64_t rows, RankShare share,
                  const ReadGuard& guard, const Visitor& visitor) {
  const int64_t length = windows.length();
  for (int64_t round = 0; round < windows.count(); round += rows * share.dp) {
    const int64_t w = round + share.dp_rank * rows;  // past the last window, rows have nothing to predict
    const int64_t batch = share.dp > 1 ? rows : std::min(rows, windows.count() - w);
    reading.begin(length);
    for (int64_t first = 0, n = 0; first < length; first += n) {
      n = reading.next(length - first);
      const RankShare::Stretch mine = reading.part(first, n);
      Batch text;
      guard([&] { text = windows.windows(w, batch, mine.first, mine.count); });
      std::vector<int64_t> positions(static_cast<size_t>(mine.count));
      std::iota(positions.begin(), positions.end(), mine.first);
      const Sequences part{.tokens = text.tokens.view(), .targets = {}, .doc_start = view_of(text.doc_start)};
      if (visitor.watch != nullptr) visitor.watch->at(w, mine.first);
      reading.read(part, first + n == length, [&](View hidden) {
        if (reading.counts()) visitor.on_part({w, mine.first, hidden, text.targets.view(), positions});
      });
      if (visitor.on_round(batch * share.dp * n)) return;
    }
  }
}

/// Runs the whole corpus as one row.
void read_stream(JointReading& reading, const Corpus& corpus, Documents documents, const Visitor& visitor) {
  const bool packed = documents == Documents::kPacked;
  const int64_t length = corpus.size() - 1;  // the last token is predicted, but not read
  DocumentPositions clock(corpus, documents);
  reading.begin(length);
  for (int64_t first = 0, n = 0; first < length; first += n) {
    n = reading.next(length - first);
    const RankShare::Stretch mine = reading.part(first, n);
    const Buffer read(Dtype::kI64, {mine.count + 1}), start_of_document(Dtype::kU8, {mine.count + 1}),
        next(Dtype::kI64, {1, mine.count});
    const uint8_t* starts = start_of_document.view().as<uint8_t>();
    const View targets = next.view();
    corpus.read(mine.first, mine.count + 1, read.view().as<int64_t>(),
                start_of_document.view().as<uint8_t>());
    const View tokens(read.view().data, Dtype::kI64, {1, mine.count});
    const View doc_start(start_of_document.view().data, Dtype::kU8, {1, mine.count});
    std::copy_n(read.view().as<int64_t>() + 1, mine.count, targets.as<int64_t>());
    const int64_t ignored = ignore_masked(targets, corpus, mine.first + 1) +
                            (packed && corpus.eod() == kNoEod ? ignore_first_bytes(targets, starts + 1) : 0);
    const std::vector<int64_t> positions = clock.take(mine.first, mine.count, starts);
    const Sequences part{.tokens = tokens, .targets = {}, .doc_start = packed ? doc_start : View{}};
    if (visitor.watch != nullptr) visitor.watch->at(0, mine.first);
    reading.read(part, first + n == length, [&](View hidden) {
      if (reading.counts()) visitor.on_part({0, mine.first, hidden, targets, positions, ignored});
    });
    if (visitor.on_round(n)) return;
  }
}

}  // namespace

EvalFigures evaluate(Model& model, Context& ctx, const EvalWindows& windows, int64_t rows, int64_t chunk,
                     const Ranks& ranks, const std::function<void(int64_t)>& progress,
                     const ReadGuard& guard) {
  EvalFigures all = count_text(model, ctx, ranks, std::min(chunk, windows.length()), windows.length(), {},
                               progress, [&](JointReading& reading, const Visitor& visitor) {
                                 read_windows(reading, windows, rows, ranks.share, guard, visitor);
                               });
  all.bytes = windows.bytes();
  return all;
}

EvalFigures evaluate_stream(Model& model, Context& ctx, const Corpus& corpus, Documents documents,
                            int64_t chunk, const Ranks& ranks, const std::function<void(int64_t)>& progress) {
  require(ranks.share.dp == 1, "one text cannot be shared out over data-parallel ranks");
  EvalFigures none;
  if (ranks.world.rank() == 0)
    none.bytes = corpus.text_bytes(1, corpus.size() - 1);  // the first token is read, but not predicted
  return count_text(model, ctx, ranks, chunk, corpus.size(), std::move(none), progress,
                    [&](JointReading& reading, const Visitor& visitor) {
                      read_stream(reading, corpus, documents, visitor);
                    });
}

}  // namespace natrix
