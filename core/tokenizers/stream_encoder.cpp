#include "core/tokenizers/stream_encoder.h"

#include <utility>

namespace natrix {
namespace {

bool is_ascii_letter(char c) {
  return static_cast<unsigned>((c | 0x20) - 'a') < 26;
}

/// The last place between two words, or 0.
size_t last_cut(std::string_view text) {
  for (size_t i = text.size(); i-- > 1;) {
    if (text[i] == ' ' && i + 1 < text.size() && is_ascii_letter(text[i - 1]) && is_ascii_letter(text[i + 1]))
      return i;
  }
  return 0;
}

}  // namespace

std::vector<int64_t> StreamEncoder::push(std::string_view text) {
  held_ += text;
  const TextCuts cuts = tokenizer_.cuts();
  const size_t cut = cuts == TextCuts::kAnywhere ? held_.size()
                     : cuts == TextCuts::kWords  ? last_cut(held_)
                                                 : 0;
  if (cut == 0) return {};
  std::vector<int64_t> ids = tokenizer_.encode(std::string_view(held_).substr(0, cut));
  held_.erase(0, cut);
  return ids;
}

std::vector<int64_t> StreamEncoder::finish() {
  return tokenizer_.encode(std::exchange(held_, {}));
}

}  // namespace natrix
