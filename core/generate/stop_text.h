// StopText: ends a text, which comes in pieces, where one of several strings appears in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace natrix {

class StopText {
 public:
  /// InputError for an empty string. Without strings, every text passes unchanged.
  explicit StopText(std::vector<std::string> stops);

  /// Adds a piece. Returns the text that is certain to come before any stop string. The end of the text that
  /// could still become one is held back. How a text is cut into pieces does not matter. Once found() is not
  /// empty, the rest of the text is dropped.
  std::string push(std::string_view piece);
  /// Returns what is held back: no more text follows.
  std::string finish();

  /// The stop string that ended the text, or "". It is the one that is complete first; of several that are
  /// complete at the same byte, the longest.
  const std::string& found() const { return found_; }

 private:
  std::vector<std::string> stops_;  // the longest first
  std::string held_, found_;
};

}  // namespace natrix
