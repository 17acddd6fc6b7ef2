#include "core/generate/decoder.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/sequence/diagnose.h"

namespace natrix {

Decoder::Decoder(Session& session, const SamplerConfig& sampler, std::vector<int64_t> ends)
    : session_(session),
      ends_(std::move(ends)),
      ended_(static_cast<size_t>(session.batch()), false),
      tokens_(Dtype::kI64, {session.batch(), 1}) {
  for (int64_t b = 0; b < session.batch(); ++b) {
    SamplerConfig of_row = sampler;
    of_row.seed += static_cast<uint64_t>(b);
    samplers_.emplace_back(of_row);
  }
}

View Decoder::next(const std::function<std::string()>& explain) {
  logits_ = session_.logits();
  for (int64_t b = 0; b < session_.batch(); ++b) {
    const auto row = static_cast<size_t>(b);
    const int64_t token = ended_[row] ? ends_.front() : sample(b, logits_, explain);
    samplers_[row].accept(token);
    if (std::ranges::find(ends_, token) != ends_.end()) ended_[row] = true;
    tokens_.view().row<int64_t>(b)[0] = token;
  }
  session_.feed(tokens_.view());
  return tokens_.view();
}

bool Decoder::ended() const {
  return std::ranges::find(ended_, false) == ended_.end();
}

int64_t Decoder::sample(int64_t row, View logits, const std::function<std::string()>& explain) {
  try {
    return samplers_[static_cast<size_t>(row)].sample(
        {logits.row<float>(row), static_cast<size_t>(logits.cols())});
  } catch (const NonfiniteLogits&) {
    throw NonfiniteError(fmt::format("the logits of row {}, position {} are not finite: {}", row,
                                     session_.position() - 1, explain()));
  }
}

}  // namespace natrix
