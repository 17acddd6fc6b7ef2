// Decoder: the loop that continues rows of tokens. Samples a token for every row, feeds them, and knows which
// rows have ended.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/generate/sampler.h"
#include "core/generate/session.h"

namespace natrix {

class Decoder {
 public:
  /// session: borrowed. Row b draws with the seed sampler.seed + b. ends: the ids that end a row; if there are
  /// none, rows do not end.
  Decoder(Session& session, const SamplerConfig& sampler, std::vector<int64_t> ends);

  /// Adds a token to those that the repetition penalty considers; call it for the prompt's.
  void accept(int64_t row, int64_t token) { samplers_[static_cast<size_t>(row)].accept(token); }
  /// The next token of every row, [B, 1] i64, valid until the next call; the session has read it. An ended row
  /// repeats the first of `ends`. NonfiniteError where logits say nothing: names row and position, and ends
  /// with what explain() returns.
  View next(const std::function<std::string()>& explain);
  /// The logits that next() drew from, f32 [B, V], valid until its next call.
  View logits() const { return logits_; }
  /// Whether every row has ended.
  bool ended() const;

 private:
  int64_t sample(int64_t row, View logits, const std::function<std::string()>& explain);

  Session& session_;
  std::vector<Sampler> samplers_;
  std::vector<int64_t> ends_;
  std::vector<bool> ended_;
  Buffer tokens_;
  View logits_;
};

}  // namespace natrix
