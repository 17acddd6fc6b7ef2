// Rows of tokens [B, T] i64, as a caller or a file gives them.
#pragma once

#include <string>

#include "kernels/base/buffer.h"

namespace natrix {

/// InputError unless every token is in [0, vocab_size). `origin` begins the message.
void check_tokens(View tokens, int64_t vocab_size, const std::string& origin);

/// Tokens [B, T] from a safetensors file, each in [0, vocab_size).
Buffer read_tokens(const std::string& path, int64_t vocab_size);

/// targets[b, t] = tokens[b, t + 1]; the last of each row is kIgnoreTarget.
Buffer next_token_targets(View tokens);

}  // namespace natrix
