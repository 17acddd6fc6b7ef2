#include "core/tokenizers/added_tokens.h"

#include <algorithm>

#include "core/tokenizers/characters.h"
#include "core/tokenizers/regex.h"
#include "core/tokenizers/utf8.h"

namespace natrix {
namespace {

/// \w as Rust's regular expressions mean it: no superscripts and fractions, but combining marks.
bool is_word(uint32_t code) {
  static const Regex word(R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}])", "\\w");
  if (code == kInvalidCharacter) return false;
  std::string character;
  append_utf8(character, code);
  return word.find(character, 0).has_value();
}

/// The character that ends at text[at]; at > 0.
Character character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  const Character c = character_at(text, begin);
  return begin + static_cast<size_t>(c.length) == at ? c : Character{kInvalidCharacter, 1};
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word(character_before(text, begin).code)) &&
         (end == text.size() || !is_word(character_at(text, end).code));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].content.empty())
      by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])].push_back(i);
  }
  for (auto& list : by_first_byte_) {
    std::ranges::stable_sort(
        list, [&](size_t a, size_t b) { return tokens_[a].content.size() > tokens_[b].content.size(); });
  }
}

const AddedToken* AddedTokens::at(std::string_view text, size_t at) const {
  for (const size_t i : by_first_byte_[static_cast<unsigned char>(text[at])]) {
    if (text.substr(at).starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

void AddedTokens::split(std::string_view text, const std::function<void(std::string_view)>& between,
                        const std::function<void(int64_t)>& found) const {
  size_t done = 0;
  const auto give = [&](size_t end) {
    if (done < end) between(text.substr(done, end - done));
  };
  for (size_t i = 0; i < text.size();) {
    const AddedToken* token = at(text, i);
    if (token == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + token->content.size();
    i = end;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    while (token->lstrip && begin > done) {
      const Character c = character_before(text, begin);
      if (!is_white_space(c.code)) break;
      begin -= static_cast<size_t>(c.length);
    }
    while (token->rstrip && end < text.size()) {
      const Character c = character_at(text, end);
      if (!is_white_space(c.code)) break;
      end += static_cast<size_t>(c.length);
    }
    give(begin);
    found(token->id);
    done = i = end;
  }
  give(text.size());
}

}  // namespace natrix
