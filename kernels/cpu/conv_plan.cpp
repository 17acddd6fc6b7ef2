#include "kernels/cpu/conv_plan.h"

#include <algorithm>

namespace natrix::cpu {

ConvPlan::ConvPlan(View x, View weight)
    : batch(x.extent(0)), tokens(x.extent(1)), channels(x.extent(2)), taps(weight.extent(1)) {
  require(x.dtype == Dtype::kF32, "the CPU convolution takes f32; f64 is for the reference backend");
}

ConvTask ConvPlan::task(int64_t index) const {
  const int64_t panel = index % panels(), block = index / panels() % time_blocks();
  const int64_t begin = block * kConvTokens, first = panel * kConvChannels;
  return {.sequence = index / panels() / time_blocks(),
          .time_block = block,
          .begin = begin,
          .end = std::min(begin + kConvTokens, tokens),
          .first = first,
          .count = std::min(kConvChannels, channels - first)};
}

int64_t ConvPlan::grain() const {
  constexpr int64_t kWorthwhile = 1 << 14;  // outputs: about 10 µs
  const int64_t of_task = std::min(tokens, kConvTokens) * std::min(channels, kConvChannels);
  return std::max<int64_t>(1, kWorthwhile / std::max<int64_t>(1, of_task));
}

ConvInputs::ConvInputs(View x, View tail_in, View doc_start, const ConvPlan& plan, const ConvTask& task)
    : x_(x),
      tail_in_(tail_in),
      starts_(doc_start ? doc_start.row<uint8_t>(task.sequence) : nullptr),
      first_row_(task.sequence * plan.tokens),
      first_tail_row_(task.sequence * plan.tail()),
      first_channel_(task.first),
      tokens_(plan.tokens),
      taps_(plan.taps) {}

const float* ConvInputs::zeros() {
  alignas(64) static constexpr float kZeros[kConvChannels] = {};
  return kZeros;
}

const float* ConvInputs::row(int64_t s) const {
  if (s >= 0) return x_.row<float>(first_row_ + s) + first_channel_;
  return tail_in_ ? tail_in_.row<float>(first_tail_row_ + taps_ - 1 + s) + first_channel_ : zeros();
}

void ConvInputs::under_taps(int64_t t, std::vector<const float*>& rows) const {
  rows.assign(static_cast<size_t>(taps_), zeros());
  for (int64_t k = taps_ - 1; k >= 0; --k) {
    const int64_t s = t - (taps_ - 1) + k;
    rows[static_cast<size_t>(k)] = row(s);
    if (starts_ != nullptr && s >= 0 && starts_[s] != 0) break;  // earlier inputs belong to another document
  }
}

int64_t ConvInputs::last_to_see(int64_t s) const {
  int64_t t = s;
  while (t + 1 < tokens_ && t + 1 <= s + taps_ - 1 &&
         (starts_ == nullptr || t + 1 < 0 || starts_[t + 1] == 0))
    ++t;
  return t;
}

}  // namespace natrix::cpu
