#include "core/tokenizers/pretokenizer.h"

#include <algorithm>

#include "core/tokenizers/byte_letters.h"
#include "core/tokenizers/regex.h"
#include "core/tokenizers/utf8.h"
#include "core/tokenizers/word_patterns.h"

namespace natrix {
namespace {

struct Range {
  size_t begin, end;
  bool match;
};

/// The matches and what lies between them. A byte that is not UTF-8 is a match of its own.
std::vector<Range> ranges_of(const Regex& regex, std::string_view text) {
  std::vector<Range> ranges;
  const auto add = [&](size_t begin, size_t end, bool match) {
    if (begin < end) ranges.push_back({begin, end, match});
  };
  const auto add_valid = [&](size_t begin, size_t end) {  // valid UTF-8
    const std::string_view part = text.substr(begin, end - begin);
    size_t done = 0;
    for (size_t from = 0; from <= part.size();) {
      const auto found = regex.find(part, from);
      if (!found) break;
      const auto [b, e] = *found;
      add(begin + done, begin + b, false);
      add(begin + b, begin + e, true);
      done = e;
      from = e > b ? e : e + (e < part.size() ? static_cast<size_t>(character_at(part, e).length) : 1);
    }
    add(begin + done, end, false);
  };
  size_t valid = 0;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (c.code == kInvalidCharacter) {
      if (valid < i) add_valid(valid, i);
      add(i, end, true);
      valid = end;
    }
    i = end;
  }
  if (valid < text.size()) add_valid(valid, text.size());
  return ranges;
}

class SplitAt final : public PreTokenizer {
 public:
  SplitAt(const std::string& pattern, SplitBehavior behavior, bool invert, const std::string& where)
      : regex_(pattern, where), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, bool, const Emit& emit) const override {
    std::vector<Range> ranges = ranges_of(regex_, text);
    for (Range& r : ranges) r.match = r.match != invert_;
    switch (behavior_) {
      case SplitBehavior::kRemoved: std::erase_if(ranges, [](const Range& r) { return r.match; }); break;
      case SplitBehavior::kIsolated: break;
      case SplitBehavior::kContiguous:
        join(ranges, [](const Range& a, const Range& b) { return a.match == b.match; });
        break;
      case SplitBehavior::kMergedWithPrevious:
        join(ranges, [](const Range& a, const Range& b) { return !a.match && b.match; });
        break;
      case SplitBehavior::kMergedWithNext:
        join(ranges, [](const Range& a, const Range& b) { return a.match && !b.match; });
        break;
    }
    for (const Range& r : ranges) emit(text.substr(r.begin, r.end - r.begin));
  }

 private:
  /// Joins neighbours where together(a, b). Merging with the previous or next takes one delimiter each.
  template <class Together>
  static void join(std::vector<Range>& ranges, const Together& together) {
    std::vector<Range> joined;
    for (const Range& r : ranges) {
      if (!joined.empty() && together(joined.back(), r)) {
        joined.back().end = r.end;
        joined.back().match = r.match;
      } else {
        joined.push_back(r);
      }
    }
    ranges = std::move(joined);
  }

  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

/// A pattern that matches everything, by hand: each match is a piece.
class Words final : public PreTokenizer {
 public:
  explicit Words(WordEnd end) : end_(end) {}

  bool divides_words() const override { return true; }

  void split(std::string_view text, bool, const Emit& emit) const override {
    for (size_t i = 0; i < text.size();) {
      const size_t end = end_(text, i);
      emit(text.substr(i, end - i));
      i = end;
    }
  }

 private:
  WordEnd end_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool split) : add_prefix_space_(add_prefix_space), split_(split) {}

  bool divides_words() const override { return split_; }

  void split(std::string_view text, bool, const Emit& emit) const override {
    if (add_prefix_space_ && !text.empty() && !text.starts_with(' ')) {
      const std::string spaced = " " + std::string(text);
      return pieces(spaced, emit);
    }
    pieces(text, emit);
  }

 private:
  void pieces(std::string_view text, const Emit& emit) const {
    if (!split_) {
      if (!text.empty()) emit(text);
      return;
    }
    words_.split(text, false, emit);
  }

  Words words_{gpt2_word_end};
  bool add_prefix_space_, split_;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string mark, PrependMark prepend, bool split)
      : mark_(std::move(mark)), prepend_(prepend), split_(split) {}

  bool divides_words() const override { return split_; }

  void split(std::string_view text, bool first, const Emit& emit) const override {
    if (text.empty()) return;
    std::string marked;
    for (const char c : text) c == ' ' ? marked.append(mark_) : marked.append(1, c);
    const bool wanted = prepend_ == PrependMark::kAlways || (prepend_ == PrependMark::kFirst && first);
    if (wanted && !marked.starts_with(mark_)) marked = mark_ + marked;
    if (!split_) return emit(marked);
    const std::string_view all = marked;
    for (size_t begin = 0; begin < all.size();) {
      const size_t next = std::min(
          all.find(mark_, begin + (all.substr(begin).starts_with(mark_) ? mark_.size() : 0)), all.size());
      emit(all.substr(begin, next - begin));
      begin = next;
    }
  }

 private:
  std::string mark_;
  PrependMark prepend_;
  bool split_;
};

/// A step that comes after ByteLevel sees bytes written as letters, so that "²" may be two of them and no number.
class OnLetters final : public PreTokenizer {
 public:
  explicit OnLetters(std::unique_ptr<PreTokenizer> step) : step_(std::move(step)) {}

  void split(std::string_view text, bool first, const Emit& emit) const override {
    step_->split(letters_of_bytes(text), first,
                 [&](std::string_view piece) { emit(bytes_of_letters(piece).value_or(std::string(piece))); });
  }

 private:
  std::unique_ptr<PreTokenizer> step_;
};

class InSequence final : public PreTokenizer {
 public:
  explicit InSequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}

  bool divides_words() const override {
    return std::ranges::any_of(steps_, [](const auto& step) { return step->divides_words(); });
  }

  void split(std::string_view text, bool first, const Emit& emit) const override {
    run(0, text, first, emit);
  }

 private:
  void run(size_t step, std::string_view text, bool first, const Emit& emit) const {
    if (step == steps_.size()) return emit(text);
    bool begins = first;
    steps_[step]->split(text, first, [&](std::string_view piece) {
      run(step + 1, piece, begins, emit);
      begins = false;
    });
  }

  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

}  // namespace

std::unique_ptr<PreTokenizer> split_at(const std::string& pattern, const std::string& pcre2,
                                       SplitBehavior behavior, bool invert, const std::string& where) {
  if (const WordEnd known = known_pattern(pattern); known && !invert && behavior == SplitBehavior::kIsolated)
    return std::make_unique<Words>(known);
  return std::make_unique<SplitAt>(pcre2, behavior, invert, where);
}
std::unique_ptr<PreTokenizer> byte_level(bool add_prefix_space, bool split) {
  return std::make_unique<ByteLevel>(add_prefix_space, split);
}
std::unique_ptr<PreTokenizer> metaspace(std::string mark, PrependMark prepend, bool split) {
  return std::make_unique<Metaspace>(std::move(mark), prepend, split);
}
std::unique_ptr<PreTokenizer> on_letters(std::unique_ptr<PreTokenizer> step) {
  return std::make_unique<OnLetters>(std::move(step));
}
std::unique_ptr<PreTokenizer> in_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) {
  return std::make_unique<InSequence>(std::move(steps));
}

}  // namespace natrix
