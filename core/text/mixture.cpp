#include "core/text/mixture.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "core/files/xxhash64.h"
#include "core/report/units.h"
#include "core/text/row_filler.h"
#include "core/text/window_order.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kLongestPeriod = 1'000'000;

/// Rows of each source in a period of `period` rows: weights times the period, rounded, at least 1 each. The
/// sum may differ from the period.
std::vector<int64_t> rounded_shares(const std::vector<double>& weights, double sum, int64_t period) {
  std::vector<int64_t> shares;
  shares.reserve(weights.size());
  for (const double weight : weights)
    shares.push_back(std::max(int64_t{1}, int64_t{std::llround(weight / sum * static_cast<double>(period))}));
  return shares;
}

/// The shortest period that holds the weights exactly, such as 10 for 0.7 and 0.3; else the longest.
std::vector<int64_t> shares_of(const std::vector<double>& weights) {
  constexpr double kExact = 1e-9;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (int64_t period = 1; period <= 10'000; ++period) {
    const bool exact = std::all_of(weights.begin(), weights.end(), [&](double weight) {
      const double share = weight / sum * static_cast<double>(period);
      return share > 0.5 && std::abs(share - std::round(share)) <= kExact * share;
    });
    if (exact) return rounded_shares(weights, sum, period);
  }
  return rounded_shares(weights, sum, kLongestPeriod);
}

class Mixture final : public BatchSource {
 public:
  Mixture(std::vector<MixtureSource> sources, Documents documents, int64_t length, int64_t batch_size,
          uint64_t seed)
      : turns_(weights_of(sources)), documents_(documents), length_(length), batch_size_(batch_size) {
    for (size_t i = 0; i < sources.size(); ++i) {
      require_window(*sources[i].corpus, length);
      const int64_t ring = ring_of(*sources[i].corpus);
      sources_.push_back({.corpus = std::move(sources[i].corpus),
                          .ring = ring,
                          .order = WindowOrder(ring, length, seed + i)});
    }
  }

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    RowFiller rows(documents_, row_count, length_);
    for (int64_t row = 0; row < row_count; ++row) {
      const SourceTurns::Turn turn = turns_[step * batch_size_ + row_begin + row];
      const Source& source = sources_[turn.source];
      rows.fill(row, *source.corpus, source.order.begin(turn.before), length_, source.ring);
    }
    return rows.take();
  }

  int64_t batches_per_epoch() const override { return -1; }  // each source has its own epochs

  std::string identity() const override {
    Xxhash64 hash;
    for (size_t i = 0; i < sources_.size(); ++i)
      hash.add(fmt::format("{} {}\n", turns_.share(i), identity_of(*sources_[i].corpus)));
    return hash.hex();
  }

  std::vector<DataFile> files() const override {
    std::vector<DataFile> all;
    for (const Source& source : sources_) {
      const std::vector<DataFile> files = source.corpus->files();
      all.insert(all.end(), files.begin(), files.end());
    }
    return all;
  }

  std::vector<std::string> remarks(int64_t steps) const override {
    std::vector<std::string> lines;
    const auto rows = static_cast<double>(steps) * static_cast<double>(batch_size_);
    for (size_t i = 0; i < sources_.size(); ++i) {
      const double part = static_cast<double>(turns_.share(i)) / static_cast<double>(turns_.period());
      lines.push_back(fmt::format("data: {:.4g} % of rows from {}: {} tokens, {:.3g} epochs in {} steps",
                                  100 * part, sources_[i].corpus->name(),
                                  human_count(static_cast<double>(sources_[i].corpus->size())),
                                  rows * part / static_cast<double>(sources_[i].order.windows()), steps));
    }
    return lines;
  }

 private:
  struct Source {
    std::shared_ptr<const Corpus> corpus;
    int64_t ring;
    WindowOrder order;
  };

  static std::vector<double> weights_of(const std::vector<MixtureSource>& sources) {
    std::vector<double> weights;
    weights.reserve(sources.size());
    for (const MixtureSource& source : sources) weights.push_back(source.weight);
    return weights;
  }

  SourceTurns turns_;
  Documents documents_;
  int64_t length_, batch_size_;
  std::vector<Source> sources_;
};

}  // namespace

/// Tijdeman's algorithm for the chairman assignment problem (1980). With k sources of the parts w, no source is
/// ever further than 1 − 1 / (2k − 2) from n·w.
SourceTurns::SourceTurns(const std::vector<double>& weights) : shares_(shares_of(weights)) {
  require(!weights.empty() && weights.size() <= kMostSources, "a mixture of no sources, or too many");
  const int64_t period = std::accumulate(shares_.begin(), shares_.end(), int64_t{0});
  const auto count = static_cast<int64_t>(shares_.size());
  const int64_t k = std::max(int64_t{1}, 2 * count - 2);
  std::vector<int64_t> given(shares_.size(), 0);
  turns_.reserve(static_cast<size_t>(period));
  for (int64_t row = 1; row <= period; ++row) {
    // A source may go when it would not get ahead by too much. Of those that may, the one goes first that would
    // soonest be too far behind. All numbers are integers that a double holds, so this is the same everywhere.
    size_t next = 0;
    double soonest = INFINITY;
    for (size_t i = 0; i < shares_.size(); ++i) {
      const int64_t behind = k * (shares_[i] * row - period * given[i]);  // k · period · (w · row − given)
      if (count > 1 && behind < period) continue;
      const double due = static_cast<double>((k - 1) * period - behind) / static_cast<double>(shares_[i]);
      if (due < soonest) {
        soonest = due;
        next = i;
      }
    }
    turns_.push_back({static_cast<uint16_t>(next), static_cast<uint32_t>(given[next]++)});
  }
}

SourceTurns::Turn SourceTurns::operator[](int64_t row) const {
  const Place& place = turns_[static_cast<size_t>(row % period())];
  return {.source = place.source, .before = row / period() * shares_[place.source] + place.before};
}

std::unique_ptr<BatchSource> mixture_of(std::vector<MixtureSource> sources, Documents documents,
                                        int64_t length, int64_t batch_size, uint64_t seed) {
  return std::make_unique<Mixture>(std::move(sources), documents, length, batch_size, seed);
}

}  // namespace natrix
