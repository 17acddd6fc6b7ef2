// How the CPU convolution divides its work: time blocks × panels of channels. Both sizes are constants. Sums
// over time are partial per time block and added in order. So results do not depend on the number of threads.
#pragma once

#include <vector>

#include "kernels/base/context.h"

namespace natrix::cpu {

inline constexpr int64_t kConvTokens = 256;    // of a time block
inline constexpr int64_t kConvChannels = 512;  // of a panel: a few rows of x, y and the weights stay in L1

/// The work of one task.
struct ConvTask {
  int64_t sequence, time_block;
  int64_t begin, end;    // tokens
  int64_t first, count;  // channels
};

struct ConvPlan {
  int64_t batch, tokens, channels, taps;  // B, T, I, K

  ConvPlan(View x, View weight);

  int64_t tail() const { return taps - 1; }
  int64_t time_blocks() const { return (tokens + kConvTokens - 1) / kConvTokens; }
  int64_t panels() const { return (channels + kConvChannels - 1) / kConvChannels; }
  int64_t tasks() const { return batch * time_blocks() * panels(); }
  ConvTask task(int64_t index) const;
  /// Tasks to hand to a thread at once. With few tokens per task, several tasks make it worth
  /// waking a thread.
  int64_t grain() const;
};

/// weight [I, K] transposed to [K, I], so that lanes are channels.
View transposed_weight(Context& ctx, View weight);

/// The inputs of one task's channels by token: x, before it the tail, and zeros where there is no tail.
class ConvInputs {
 public:
  ConvInputs(View x, View tail_in, View doc_start, const ConvPlan& plan, const ConvTask& task);

  /// The input of token s ≥ −(K−1).
  const float* row(int64_t s) const;
  /// rows[k] = the input under tap k of token t; zeros where it belongs to another document.
  void under_taps(int64_t t, std::vector<const float*>& rows) const;
  /// The last token that reads token s: at most s + K − 1, within the segment and the document.
  int64_t last_to_see(int64_t s) const;
  static const float* zeros();

 private:
  View x_, tail_in_;
  const uint8_t* starts_;  // of this sequence's tokens, or null
  int64_t first_row_, first_tail_row_, first_channel_;
  int64_t tokens_, taps_;
};

}  // namespace natrix::cpu
