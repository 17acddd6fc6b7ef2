// Limits on what a template may do. A template comes with a model from anywhere, so it must not be able to exhaust
// the stack, the memory or the time. Templates of real models stay far below each of these.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace natrix::chat {

inline constexpr size_t kMostSourceBytes = 4 << 20;
inline constexpr int kMostSyntaxDepth = 200;             // expressions and blocks, one inside another
inline constexpr int kMostEvaluationDepth = 600;         // the same, and calls of macros
inline constexpr int kMostValueDepth = 100;              // lists and objects, one inside another
inline constexpr int64_t kMostSteps = 50'000'000;        // nodes evaluated, items compared
inline constexpr int64_t kMostBytes = int64_t{2} << 30;  // of all strings and lists made, kept or not
inline constexpr size_t kMostTextBytes = 256 << 20;      // of one string, and so of the output
inline constexpr int64_t kMostRange = 100'000;  // items of range(); jinja2's sandbox has the same limit
inline constexpr int64_t kMostWidth = 10'000;   // a width, precision or indentation
inline constexpr auto kMostTime = std::chrono::seconds(60);

/// A fault of the template or of the conversation, without its place: the caller knows file and line.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Counts what one rendering uses. Every function that makes values takes it.
class Budget {
 public:
  void step(int64_t count = 1);
  /// Called before the bytes are allocated.
  void bytes(size_t count);

 private:
  int64_t steps_ = 0, bytes_ = 0, next_look_ = 0;
  std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::now() + kMostTime;
};

}  // namespace natrix::chat
