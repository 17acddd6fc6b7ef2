// PreTokenizer: divides normalised text into the pieces that the model then encodes one by one.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

class PreTokenizer {
 public:
  using Emit = std::function<void(std::string_view piece)>;
  virtual ~PreTokenizer() = default;
  /// Emits the pieces of `text` in order; a piece is valid during the call. first: the text begins the input.
  virtual void split(std::string_view text, bool first, const Emit& emit) const = 0;
  /// Whether a piece always begins at a space between two letters.
  virtual bool divides_words() const { return false; }
};

/// What a match of a delimiter becomes, by the names of the tokenizers library.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Splits at matches of a regular expression, or, inverted, at what lies between them.
/// `where` begins the message of the InputError for a pattern that is not valid. pcre2: the same pattern in PCRE2's
/// dialect.
std::unique_ptr<PreTokenizer> split_at(const std::string& pattern, const std::string& pcre2,
                                       SplitBehavior behavior, bool invert, const std::string& where);
/// Words, numbers and punctuation as GPT-2 splits them, the leading space included. add_prefix_space puts one before
/// text that does not begin with white space.
std::unique_ptr<PreTokenizer> byte_level(bool add_prefix_space, bool split);
/// Replaces spaces by `mark` (▁). With split, a piece begins at each mark.
enum class PrependMark { kAlways, kFirst, kNever };
std::unique_ptr<PreTokenizer> metaspace(std::string mark, PrependMark prepend, bool split);
/// The step, applied to bytes written as letters (byte_letters.h).
std::unique_ptr<PreTokenizer> on_letters(std::unique_ptr<PreTokenizer> step);
std::unique_ptr<PreTokenizer> in_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps);

}  // namespace natrix
