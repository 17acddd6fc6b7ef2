#include "core/generate/stop_text.h"

#include <gtest/gtest.h>

#include "core/files/random.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

struct Cut {
  std::string text, found;
  bool operator==(const Cut&) const = default;
};

Cut cut(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopText stop(stops);
  std::string text;
  for (const std::string& piece : pieces) text += stop.push(piece);
  text += stop.finish();
  return {text, stop.found()};
}

TEST(StopText, HoldsBackWhatCouldBecomeAStopString) {
  StopText stop({"\nUser:", "###"});
  EXPECT_EQ(stop.push("Hello\nUs"), "Hello");
  EXPECT_EQ(stop.push("e it\n"), "\nUse it");
  EXPECT_EQ(stop.push("Use#"), "\nUse");
  EXPECT_EQ(stop.push("#"), "");
  EXPECT_EQ(stop.push(" #"), "## ");
  EXPECT_EQ(stop.finish(), "#");
  EXPECT_EQ(stop.found(), "");
}

TEST(StopText, ItselfAndWhatFollowsAreNoPartOfTheText) {
  EXPECT_EQ(cut({"END"}, {"one E", "ND two", " three"}), (Cut{"one ", "END"}));
  EXPECT_EQ(cut({"END"}, {"END"}), (Cut{"", "END"}));
  EXPECT_EQ(cut({"END"}, {"EN", "EEND"}), (Cut{"ENE", "END"}));
}

TEST(StopText, WorksOnBytesOfCharacters) {
  EXPECT_EQ(cut({"。"}, {"日本", "語\xE3\x80", "\x82続"}), (Cut{"日本語", "。"}));
}

TEST(StopText, TheFirstToBeCompleteEndsTheText) {
  EXPECT_EQ(cut({"abcd", "bc"}, {"xabcd"}), (Cut{"xa", "bc"}));
  EXPECT_EQ(cut({"bc", "abc"}, {"xabcd"}), (Cut{"x", "abc"}));  // complete at the same byte: the longest
}

TEST(StopText, WithoutStopStringsTextPasses) {
  StopText stop({});
  EXPECT_EQ(stop.push("as it is"), "as it is");
  EXPECT_EQ(stop.finish(), "");
  EXPECT_THROW(StopText({"a", ""}), InputError);
}

/// Byte by byte, with the whole text at hand.
Cut plainly(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string found;
    for (const std::string& s : stops) {
      if (std::string_view(text).substr(0, end).ends_with(s) && s.size() > found.size()) found = s;
    }
    if (!found.empty()) return {text.substr(0, end - found.size()), found};
  }
  return {text, ""};
}

TEST(StopText, PiecesDoNotMatter) {
  SplitMix64 random(5);
  const auto some = [&](uint64_t most) {
    std::string s;
    for (uint64_t n = 1 + random.next() % most; n > 0; --n) s += "abc"[random.next() % 3];
    return s;
  };
  int stopped = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::vector<std::string> stops = {some(5), some(7), some(4)};
    const std::string text = some(24);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random.next() % 4;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    const Cut want = plainly(stops, text);
    ASSERT_EQ(cut(stops, pieces), want) << text;
    stopped += !want.found.empty();
  }
  EXPECT_GT(stopped, 100);
  EXPECT_LT(stopped, 1990);
}

}  // namespace
}  // namespace natrix
