// AddedTokens: tokens that are looked for in the text itself, before anything else, like "<|im_start|>". Of several that
// begin at one place the longest is taken.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool single_word = false;             // only where no letter, digit or underscore is beside it
  bool lstrip = false, rstrip = false;  // takes the white space before and after it
  bool normalized = false;              // looked for in normalised text
  bool special = false;                 // decodes to nothing
};

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  const std::vector<AddedToken>& all() const { return tokens_; }
  /// Calls between(text) for what lies between tokens, and found(id) for each token, in order. Empty texts are left
  /// out.
  void split(std::string_view text, const std::function<void(std::string_view)>& between,
             const std::function<void(int64_t)>& found) const;

 private:
  /// The token that begins at text[at]; null if there is none.
  const AddedToken* at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<std::vector<size_t>, 256> by_first_byte_;  // indices of tokens, longest first
};

}  // namespace natrix
