#include "core/generate/continuation.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace natrix {

Continuation::Continuation(const Tokenizer* tokenizer, StopRules rules)
    : rules_(std::move(rules)), stop_text_(rules_.texts) {
  if (tokenizer != nullptr) characters_.emplace(*tokenizer);
  if (rules_.tokens <= 0) end_ = End::kLength;
}

std::string Continuation::push(int64_t token) {
  require(!ended(), "a token for a text that has ended");
  if (std::ranges::find(rules_.ids, token) != rules_.ids.end()) {
    stop_id_ = token;
    return end_with(End::kStopId, "");
  }
  tokens_.push_back(token);
  std::string piece = stop_text_.push(characters_ ? characters_->push(token) : "");
  if (!stop_text_.found().empty()) {
    end_ = End::kStopText;
    return shown(std::move(piece));
  }
  if (static_cast<int64_t>(tokens_.size()) == rules_.tokens) return end_with(End::kLength, std::move(piece));
  return shown(std::move(piece));
}

std::string Continuation::interrupt() {
  return ended() ? "" : end_with(End::kInterrupted, "");
}

std::string Continuation::end_with(End end, std::string piece) {
  end_ = end;
  piece += stop_text_.push(characters_ ? characters_->finish() : "");
  if (!stop_text_.found().empty()) end_ = End::kStopText;
  piece += stop_text_.finish();
  return shown(std::move(piece));
}

std::string Continuation::shown(std::string piece) {
  text_ += piece;
  return piece;
}

}  // namespace natrix
