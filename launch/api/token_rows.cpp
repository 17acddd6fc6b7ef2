#include "launch/api/token_rows.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/safetensors.h"
#include "kernels/loss.h"

namespace natrix {

void check_tokens(View tokens, int64_t vocab_size, const std::string& origin) {
  const int64_t* t = tokens.as<int64_t>();
  for (int64_t i = 0; i < tokens.count(); ++i) {
    if (t[i] < 0 || t[i] >= vocab_size) {
      throw InputError(fmt::format("{}: tokens[{}, {}] is {}; the model's vocabulary has {} entries", origin,
                                   i / tokens.cols(), i % tokens.cols(), t[i], vocab_size));
    }
  }
}

Buffer read_tokens(const std::string& path, int64_t vocab_size) {
  const Safetensors file(path);
  View stored = file.at("tokens");
  if (stored.dtype != Dtype::kI64 || stored.shape.rank() != 2 || stored.count() == 0) {
    throw InputError(
        fmt::format("{}: tensor \"tokens\" is {}; expected i64 [batch, length] with at least one token", path,
                    stored.to_string()));
  }
  Buffer tokens(Dtype::kI64, stored.shape);
  copy(stored, tokens.view());
  check_tokens(tokens.view(), vocab_size, path);
  return tokens;
}

Buffer next_token_targets(View tokens) {
  Buffer targets(Dtype::kI64, tokens.shape);
  for (int64_t b = 0; b < tokens.rows(); ++b) {
    const int64_t* from = tokens.row<int64_t>(b);
    int64_t* to = targets.view().row<int64_t>(b);
    std::copy(from + 1, from + tokens.cols(), to);
    to[tokens.cols() - 1] = kIgnoreTarget;
  }
  return targets;
}

}  // namespace natrix
