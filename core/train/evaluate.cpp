#include "core/train/evaluate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

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

/// Where no separator stands between documents, the first byte of one follows nothing and is no target: see
/// EvalWindows. Returns how many there are.
int64_t ignore_first_bytes(View targets, const uint8_t* starts) {
  int64_t ignored = 0;
  for (int64_t t = 0; t < targets.count(); ++t) {
    if (starts[t] == 0) continue;
    targets.as<int64_t>()[t] = kIgnoreTarget;
    ++ignored;
  }
  return ignored;
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

/// Windows first, first + every, …, `rows` of them at a time and as often as the rank with the most needs.
EvalFigures evaluate_windows(Model& model, Context& ctx, const EvalWindows& windows, int64_t rows,
                             int64_t chunk, int64_t rank, int64_t ranks,
                             const std::function<void(int64_t)>& progress) {
  EvalFigures figures{.bytes = windows.bytes()};
  LocalRoute states;
  CutRoute none;
  SegmentSchedule schedule(model, ctx, states, none, {.chunk = std::min(chunk, windows.length())});
  for (int64_t round = 0; round < windows.count(); round += rows * ranks) {
    const int64_t w = round + rank * rows;  // past the last window, rows have nothing to predict
    const Batch batch = windows.windows(w, ranks > 1 ? rows : std::min(rows, windows.count() - w));
    const View targets = batch.targets.view();
    states.resume(nullptr);
    const Sequences text{.tokens = batch.tokens.view(),
                         .doc_start = batch.doc_start ? batch.doc_start.view() : View{}};
    schedule.read(text, [&](int64_t first, View hidden) {
      const int64_t b = hidden.extent(0), t = hidden.extent(1);
      const Buffer part(Dtype::kI64, {b, t}), losses(Dtype::kF64, {b * t});
      copy(targets.columns(first, t), part.view());
      model.head().loss(ctx, hidden, part.view(), losses.view());
      for (int64_t i = 0; i < b * t; ++i) {
        if (part.view().as<int64_t>()[i] != kIgnoreTarget)
          add(figures, first + i % t, losses.view().as<double>()[i]);
      }
      progress(b * t);
    });
  }
  return figures;
}

}  // namespace

EvalFigures evaluate(Model& model, Context& ctx, const EvalWindows& windows, int64_t rows, int64_t chunk,
                     const std::function<void(int64_t)>& progress) {
  return evaluate_windows(model, ctx, windows, rows, chunk, 0, 1, progress);
}

EvalFigures evaluate(Model& model, Context& ctx, const EvalWindows& windows, int64_t rows, int64_t chunk,
                     RankGroup& group) {
  EvalFigures f =
      evaluate_windows(model, ctx, windows, rows, chunk, group.rank(), group.size(), [](int64_t) {});
  f.by_position.resize(bucket_of(windows.length()) + 1);
  std::vector<double> sums = {f.nats, static_cast<double>(f.predictions)};
  for (const EvalFigures::Bucket& b : f.by_position) {
    sums.push_back(b.nats);
    sums.push_back(static_cast<double>(b.predictions));
  }
  group.sum(ctx, sums);
  EvalFigures all{.nats = sums[0], .predictions = static_cast<int64_t>(sums[1]), .bytes = f.bytes};
  for (size_t b = 0; 2 * b + 3 < sums.size(); ++b) {
    all.by_position.push_back({bucket_begin(b), sums[2 * b + 2], static_cast<int64_t>(sums[2 * b + 3])});
  }
  while (!all.by_position.empty() && all.by_position.back().predictions == 0) all.by_position.pop_back();
  return all;
}

EvalFigures evaluate_stream(Model& model, Context& ctx, const Corpus& corpus, Documents documents,
                            int64_t chunk, const std::function<void(int64_t)>& progress) {
  EvalFigures figures{.bytes =
                          corpus.text_bytes(1, corpus.size() - 1)};  // the first token is read, not predicted
  LocalRoute states;
  CutRoute none;
  SegmentSchedule schedule(model, ctx, states, none, {.chunk = chunk});
  const bool packed = documents == Documents::kPacked;
  int64_t position = -1;
  for (int64_t first = 0; first + 1 < corpus.size(); first += chunk) {
    const int64_t n = std::min(chunk, corpus.size() - 1 - first);
    const Buffer read(Dtype::kI64, {n + 1}), start_of_document(Dtype::kU8, {n + 1}),
        next(Dtype::kI64, {1, n});
    const uint8_t* starts = start_of_document.view().as<uint8_t>();
    const View targets = next.view();
    corpus.read(first, n + 1, read.view().as<int64_t>(), start_of_document.view().as<uint8_t>());
    const View tokens(read.view().data, Dtype::kI64, {1, n});
    const View doc_start(start_of_document.view().data, Dtype::kU8, {1, n});
    std::copy_n(read.view().as<int64_t>() + 1, n, targets.as<int64_t>());
    if (packed && corpus.eod() == kNoEod) figures.bytes -= ignore_first_bytes(targets, starts + 1);
    schedule.read({.tokens = tokens, .doc_start = packed ? doc_start : View{}}, [&](int64_t, View hidden) {
      const Buffer losses(Dtype::kF64, {n});
      model.head().loss(ctx, hidden, targets, losses.view());
      for (int64_t t = 0; t < n; ++t) {
        position = packed && starts[t] ? 0 : position + 1;
        if (targets.as<int64_t>()[t] != kIgnoreTarget) add(figures, position, losses.view().as<double>()[t]);
      }
    });
    progress(n);
  }
  return figures;
}

}  // namespace natrix
