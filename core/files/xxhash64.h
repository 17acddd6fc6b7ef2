// A running 64-bit xxHash (XXH3), for fast checks of identity and damage. It does not
// protect against forgery.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace natrix {

class Xxhash64 {
 public:
  Xxhash64();
  ~Xxhash64();
  void add(const void* data, int64_t bytes);
  void add(std::string_view text) { add(text.data(), static_cast<int64_t>(text.size())); }
  std::string hex() const;  // 16 digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The hash of a whole file.
std::string hash_file(const std::string& path);

}  // namespace natrix
