#include "core/ranks/rank_share.h"

#include <algorithm>
#include <fmt/format.h>

namespace natrix {
namespace {

Buffer take_columns(View v, const std::vector<RankShare::Stretch>& stretches) {
  int64_t total = 0;
  for (const RankShare::Stretch& s : stretches) total += s.count;
  Buffer part(v.dtype, {v.rows(), total});
  int64_t at = 0;
  for (const RankShare::Stretch& s : stretches) {
    copy(v.columns(s.first, s.count), part.view().columns(at, s.count));
    at += s.count;
  }
  return part;
}

}  // namespace

int64_t RankShare::fewest_tokens(const CarryList& carries) const {
  // Ranks that combine maps compute each map only from their own tokens.
  return cp * (link == CarryLinkKind::kScan ? natrix::fewest_tokens(carries) : 1);
}

RankShare::Stretch RankShare::part(int64_t first, int64_t count) const {
  const int64_t even = count / cp, longer = count % cp;
  return {first + cp_rank * even + std::min(cp_rank, longer), even + (cp_rank < longer ? 1 : 0)};
}

std::vector<RankShare::Stretch> RankShare::stretches(int64_t length, int64_t chunk) const {
  std::vector<Stretch> mine;
  for (int64_t first = 0; first < length; first += cp * chunk) {
    mine.push_back(part(first, std::min(cp * chunk, length - first)));
  }
  return mine;
}

Batch RankShare::take(const BatchSource& source, int64_t step, const ExperimentConfig& config) const {
  const int64_t rows = config.train.batch_size / dp;
  Batch batch = source.batch(step, dp_rank * rows, rows);
  if (cp == 1) return batch;
  const std::vector<Stretch> mine = stretches(config.sequence.length, config.sequence.chunk);
  batch.tokens = take_columns(batch.tokens.view(), mine);
  batch.targets = take_columns(batch.targets.view(), mine);
  if (batch.doc_start) batch.doc_start = take_columns(batch.doc_start.view(), mine);
  return batch;
}

void check_share(const ExperimentConfig& config, const CarryList& carries, int64_t dp, int64_t cp) {
  const int64_t rows = config.train.batch_size;
  if (rows % dp != 0) {
    throw InputError(
        fmt::format("train.batch_size: {} rows cannot be shared out evenly over dp = {} ranks; {}{} can",
                    rows, dp, rows > dp ? fmt::format("{} or ", rows / dp * dp) : "", (rows / dp + 1) * dp));
  }
  const std::optional<int64_t> micro = config.train.micro_batch_size;
  if (micro && rows / dp % *micro != 0) {
    throw InputError(
        fmt::format("train.micro_batch_size: {} does not divide the {} rows that each of dp = {} ranks has",
                    *micro, rows / dp, dp));
  }
  const SequenceConfig& s = config.sequence;
  const int64_t rest = s.length % (cp * s.chunk);
  const int64_t least = RankShare{.cp = cp, .link = config.parallel.cp_link}.fewest_tokens(carries);
  if (cp > 1 && s.length > cp * s.chunk && cp * s.chunk < least) {
    throw InputError(
        fmt::format("sequence.chunk: {} is shorter than the convolution's tail of {} tokens, which "
                    "parallel.cp_link: scan cannot do; choose a longer chunk, or relay",
                    s.chunk, natrix::fewest_tokens(carries)));
  }
  if (cp > 1 && rest != 0 && rest < least) {
    throw InputError(
        fmt::format("sequence.chunk: after stretches of cp x chunk = {} x {} tokens, {} of sequence.length "
                    "{} are left, and {} ranks "
                    "need at least {}; choose a chunk that leaves none, or more",
                    cp, s.chunk, rest, s.length, cp, least));
  }
}

}  // namespace natrix
